"""The curvature of the loss by the outputs, and the directions that hold most of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.checks import output_table, per_example
from auditkit.engine.passes import Batching, at_least_single
from auditkit.pool import Pool, Positions
from auditkit.progress import SILENT, Progress
from auditkit.seeds import stream
from auditkit.subject import NOT_COUNTED, Likelihood, Task

if TYPE_CHECKING:
    from auditkit.subject import Batch

ROWS = 2_048
"""How many rows are kept; the factorization costs their cube."""

_EXAMPLES = 20_000
_RANK = 8
_WHOLE = 64
_BATCH = 256
_NUMBERS = 2**26
"""How many numbers the directions of all examples may take: 256 MiB."""


@dataclass(frozen=True)
class OutputRows:
    """Directions of the outputs whose gradients are rows of R.

    Attributes:
        positions: int64 [row]; the example of each, in its pool.
        cotangents: [row, output]; the direction, with the root of its weight in it.
        share: the share of the outputs' curvature that these directions hold.
        examples: how many examples H is the mean of.
    """

    positions: Positions
    cotangents: Tensor
    share: float
    examples: int

    def __len__(self) -> int:
        return len(self.positions)


def outputs_of(task: Task, model: nn.Module, batch: Batch) -> Tensor:
    """The outputs, [n, k]; the losses as the only ones, [n, 1], of a task without any."""
    if not task.has_outputs or task.likelihood is None:
        return task.loss(model, batch)[:, None]
    return output_table(task.outputs(model, batch)[0], task=type(task).__name__)


@dataclass(frozen=True)
class Judged:
    """Outputs with the loss's first and second derivative by them.

    Attributes:
        values: the outputs, [n, ...]; their graph leads to the weights.
        slopes: the loss's derivative by them, of the same shape, without gradient.
        likelihood: how they are judged; None for losses themselves.
        shares: how much each counts, to be multiplied with `values`.
    """

    values: Tensor
    slopes: Tensor
    likelihood: Likelihood | None
    shares: Tensor

    def times_curvature(self, tangents: Tensor) -> Tensor:
        """The loss's second derivative by the outputs times tangents of them, both [n, ...]."""
        if self.likelihood is None:
            return tangents  # the empirical Fisher matrix
        if self.likelihood == "gaussian":
            return tangents * (2 / self.values.shape[1])
        values = self.values.detach()
        chances = values.to(at_least_single(values.dtype)).softmax(dim=-1)
        mean = (chances * tangents).sum(dim=-1, keepdim=True)
        return self.shares * chances * (tangents - mean)


def judged(task: Task, model: nn.Module, batch: Batch) -> Judged:
    """The outputs, and how the loss depends on them."""
    if not task.has_outputs or task.likelihood is None:
        losses = task.loss(model, batch)[:, None]
        return Judged(losses, torch.ones_like(losses), None, torch.ones(()))
    outputs, targets = task.outputs(model, batch)
    with torch.no_grad():
        if task.likelihood == "gaussian":
            slopes = (outputs - targets) * (2 / outputs.shape[1])
            return Judged(outputs, slopes, task.likelihood, torch.ones(()))
        shares = shares_of(task, outputs, targets)
        wanted = nn.functional.one_hot(targets.clamp(min=0), outputs.shape[-1])
        slopes = shares * (outputs.softmax(dim=-1) - wanted)
    return Judged(outputs, slopes, task.likelihood, shares)


def shares_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """How much the loss on each output counts in its example's, shaped to be multiplied with them.

    One for a class; one over the number of counted tokens for each of these, [n, token, 1].
    """
    if task.likelihood != "tokens":
        return torch.ones(()).to(outputs)
    counted = (targets != NOT_COUNTED).to(outputs)
    return (counted / counted.sum(dim=1, keepdim=True))[:, :, None]


def heaviest_rows(
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    rows: int = ROWS,
    seed: int = 0,
    device: torch.device,
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> OutputRows:
    """The output directions that hold most of the curvature, over up to 20,000 examples.

    Directions of equal weight are chosen at random. What is left out is made up for by scaling the
    rest, so that the trace stays.

    Raises:
        NonFiniteLossError: an output is NaN or infinite; the message names the example.
    """
    random = stream(seed, "curvature rows")
    most = min(_EXAMPLES, max(rows, _NUMBERS // (_RANK * _size(task, model, pool, device))))
    chosen = np.sort(random.permutation(len(pool))[:most])  # some of `candidates`
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    total = 0.0

    def run(where: slice) -> Tensor:
        outputs = outputs_of(task, model, collate(pool, chosen[where], device=device)).cpu()
        per_example(outputs.sum(dim=1), pool, chosen[where], what="outputs")
        return outputs.to(at_least_single(outputs.dtype))

    with torch.no_grad(), progress.step("weighing the curvature", len(chosen)) as step:
        batching = Batching(min(_BATCH, batch_size or _BATCH))
        for where, outputs in batching.over(len(chosen), run):
            roots, trace = _roots(task, outputs, generator)
            found.append(roots)
            total += trace
            step.advance(where.stop - where.start)
    roots = torch.cat(found)  # [example, rank, output]
    weights = roots.square().sum(dim=2).flatten().double().numpy()
    shuffled = random.permutation(len(weights))
    heaviest = np.sort(shuffled[np.argsort(-weights[shuffled], kind="stable")][:rows])
    heaviest = heaviest[weights[heaviest] > 0] if (weights > 0).any() else heaviest[:1]
    share = min(float(weights[heaviest].sum()) / total, 1.0) if total > 0 else 1.0
    return OutputRows(
        positions=chosen[heaviest // roots.shape[1]],
        cotangents=roots.flatten(end_dim=1)[torch.from_numpy(heaviest)] / max(share, 1e-12) ** 0.5,
        share=share,
        examples=len(chosen),
    )


def candidates(count: int, seed: int) -> Positions:
    """The examples of a pool of `count` that `heaviest_rows` chooses from at most, in order."""
    return np.sort(stream(seed, "curvature rows").permutation(count)[:_EXAMPLES])


def _size(task: Task, model: nn.Module, pool: Pool, device: torch.device) -> int:
    """How many outputs an example has."""
    with torch.no_grad():
        batch = collate(pool, np.zeros(1, dtype=np.int64), device=device)
        return outputs_of(task, model, batch).shape[1]


def _roots(task: Task, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    """Roots of each example's output curvature, [n, rank, k], and the sum of its traces."""
    count, size = outputs.shape
    if not task.has_outputs or task.likelihood is None:
        return torch.ones_like(outputs)[:, None], float(count)
    if task.likelihood == "gaussian":
        if size <= _WHOLE:
            return ((2 / size) ** 0.5 * torch.eye(size).to(outputs)).expand(
                count, -1, -1
            ), 2.0 * count
        signs = 2 * torch.randint(0, 2, (count, _RANK, size), generator=generator) - 1
        return (2 / size / _RANK) ** 0.5 * signs.to(outputs), 2.0 * count
    chances = outputs.softmax(dim=1)
    trace = float((chances * (1 - chances)).double().sum())
    if size > _WHOLE:  # the root of diag(p) - p p^T whose rows are sqrt(p_c) (e_c - p)
        top, classes = chances.topk(_RANK, dim=1)
        rows = nn.functional.one_hot(classes, size).to(outputs) - chances[:, None]
        return rows * top.sqrt()[:, :, None], trace
    matrix = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None]
    values, vectors = torch.linalg.eigh(matrix)
    kept = slice(max(size - _RANK, 1), None)  # the lowest belongs to a constant added to all scores
    roots = values[:, kept].clamp(min=0).sqrt()
    return (vectors[:, :, kept] * roots[:, None]).transpose(1, 2), trace
