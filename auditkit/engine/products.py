"""First-order scores of many queries at once, by per-example gradients.

One forward and one backward pass over the pool, whatever the number of queries, and products with
all their directions. Directions that are gradients themselves (no preconditioner) are kept as the
outer products they are made of, and a Linear layer's scores are then products of two small inner
products: neither side's gradients are ever written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from auditkit.batches import collate
from auditkit.checks import per_example
from auditkit.engine.blocks import Block, Outer, Written, joined
from auditkit.engine.curvature import Preconditioner, as_it_is
from auditkit.engine.layers import Part
from auditkit.engine.passes import Batching, Executor, Function, common_numbers
from auditkit.engine.per_example import Reader
from auditkit.pool import Pool, Positions

if TYPE_CHECKING:
    from auditkit.subject import Batch

BATCH = 64
"""How many examples' gradients are read at once; more where few parameters move."""

_HELD = 2**22

Directions = Mapping[Part, Block]
"""Directions of several queries, by part of the parameters."""


def query_directions(
    function: Function,
    reader: Reader,
    queries: Pool,
    rows: list[Positions],
    *,
    precondition: Preconditioner,
    device: torch.device,
    batch_size: int = BATCH,
) -> Directions:
    """The preconditioned gradients of each row's mean measure, q of them.

    Args:
        function: the query-side measure.
        reader: reads gradients off the model.
        queries: where the queries are.
        rows: the positions of each row's queries; one position for a single query.
        precondition: from gradients to directions.
        device: where the model is.
        batch_size: at most so many queries at once; fewer where memory runs out.
    """
    positions = np.concatenate(rows)
    found: dict[Part, list[Block]] = {part: [] for part in reader.parts}

    def run(cut: slice) -> dict[Part, Block]:
        where = positions[cut]
        with common_numbers(queries, where):
            values, blocks = reader.blocks(function, collate(queries, where, device=device))
        per_example(values, queries, where, what="measure")
        return blocks

    for _, blocks in Batching(min(BATCH, batch_size)).over(len(positions), run):
        for part, block in blocks.items():
            found[part].append(block)
    gradients = {part: joined(blocks) for part, blocks in found.items() if blocks}
    if len(rows) < len(positions):
        weights = _means(rows)
        gradients = {
            part: Written(block.combined(weights.to(_sample(block))))
            for part, block in gradients.items()
        }
    if precondition is as_it_is:
        return gradients
    return _solved(gradients, reader, precondition)


def products(
    function: Function,
    reader: Reader,
    pool: Pool,
    directions: Directions,
    *,
    executor: Executor,
) -> Tensor:
    """The derivative of each example's measure along each direction, [q, example]."""

    def run(batch: Batch, where: Positions) -> Tensor:
        with common_numbers(pool, where):
            values, found = reader.products(function, batch, directions)
        per_example(values, pool, where, what="measure")
        return found

    size = sum(shape.numel() for part in reader.parts for shape in part.weights.values())
    at_once = max(BATCH, _HELD // size)
    return executor.each(pool, run, batch_size=at_once, doing="multiplying gradients").T


def own_products(
    function: Function,
    reader: Reader,
    pool: Pool,
    *,
    precondition: Preconditioner,
    executor: Executor,
) -> Tensor:
    """Each example's gradient times its own preconditioned gradient, [example]."""

    def run(batch: Batch, where: Positions) -> Tensor:
        with common_numbers(pool, where):
            values, blocks = reader.blocks(function, batch)
        per_example(values, pool, where, what="measure")
        solved = _solved(blocks, reader, precondition)
        found = [(b.written() * solved[part].written()).sum(dim=1) for part, b in blocks.items()]
        return torch.stack(found).sum(dim=0)

    return executor.each(
        pool, run, batch_size=BATCH, doing="measuring each example's own influence"
    )


def _solved(
    gradients: Mapping[Part, Block], reader: Reader, precondition: Preconditioner
) -> Directions:
    """The preconditioned gradients; zero where a part has none."""
    names: dict[str, Tensor] = {}
    like = _sample(next(iter(gradients.values())))
    count = len(next(iter(gradients.values())))
    for part in reader.parts:
        size = sum(shape.numel() for shape in part.weights.values())
        block = gradients.get(part, Written(like.new_zeros(count, size)))
        names |= part.unpack(block.written())
    solved = precondition(names)
    return {part: Written(part.pack(solved)) for part in reader.parts}


def _means(rows: list[Positions]) -> Tensor:
    """The matrix [row, query] that averages the queries of each row."""
    weights = torch.zeros(len(rows), sum(len(row) for row in rows))
    place = 0
    for row, positions in enumerate(rows):
        weights[row, place : place + len(positions)] = 1 / len(positions)
        place += len(positions)
    return weights


def _sample(block: Block) -> Tensor:
    return block.slopes if isinstance(block, Outer) else block.rows
