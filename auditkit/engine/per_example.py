"""Gradients per example, of any function of (model, batch), by one forward and one backward pass.

`Reader` watches the layers of `layers.py` and reads their gradients off inputs and slopes. What it
cannot read (recurrent cells, attention's own matrices, weights used twice) it differentiates by
`torch.func`, all examples at once where every operator allows it and one by one elsewhere. On a few
examples, in two orders, it compares both ways, and layers that disagree are not read off: one whose
first axis is not the batch, or one that is given the examples in another order. A layer that sees
only some of a batch's examples (an expert) is differentiated the other way for that batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate, mapped, sliced
from auditkit.checks import per_example
from auditkit.engine.blocks import Block, Written
from auditkit.engine.layers import Layer, Part, readable
from auditkit.engine.passes import Function, call, out_of_memory
from auditkit.engine.uses import Reading, block_of, inner, read
from auditkit.gradients import gradient, plain_kernels
from auditkit.pool import Pool, Positions
from auditkit.seeds import unmoved_generators

if TYPE_CHECKING:
    from auditkit.subject import Batch

_AGREE = 1e-2
_COMPARED = 4
"""Examples, spread over the pool, on which the ways of reading are compared."""

_FAILS = (RuntimeError, ValueError, TypeError, NotImplementedError)


class Reader:
    """Reads gradients per example off a model.

    Args:
        model: the trained model, in evaluation mode; only its trainable parameters are looked at.
        function: what is differentiated, where the ways of reading are compared.
        pool: gives the examples on which they are.
        device: where the model is.

    Attributes:
        layers: those that are read off.
        rest: the remaining trainable parameters; None if there are none.
        one_by_one: whether the rest has to be differentiated one example after another.

    Raises:
        TaskError: the function does not depend on trainable weights of the model.
    """

    def __init__(
        self, model: nn.Module, function: Function, pool: Pool, *, device: torch.device
    ) -> None:
        self.model = model
        self.layers = list(readable(model))
        self.one_by_one = False
        self.layers = self._agreeing(function, pool, device)
        read = {name for layer in self.layers for name in layer.weights}
        rest = {name: weight.shape for name, weight in _trainable(model).items()}
        rest = {name: shape for name, shape in rest.items() if name not in read}
        self.rest = Part(rest) if rest else None

    @property
    def parts(self) -> list[Part]:
        """All trainable parameters: the layers' and the rest."""
        return [*self.layers, *([self.rest] if self.rest else [])]

    def blocks(self, function: Function, batch: Batch) -> tuple[Tensor, dict[Part, Block]]:
        """What the function gives, [n], and its gradients per example by part.

        A part that does not bear on the function has no block.
        """
        with unmoved_generators():  # the rest is then differentiated at the same numbers
            reading = self.read(function, batch)
        found: dict[Part, Block] = {
            layer: block_of(layer, uses) for layer, uses in reading.uses.items()
        }
        others = [*reading.partial, *([self.rest] if self.rest else [])]
        return reading.values, found | self._others(function, batch, len(reading.values), others)

    def products(
        self, function: Function, batch: Batch, directions: Mapping[Part, Block]
    ) -> tuple[Tensor, Tensor]:
        """What the function gives, [n], and its derivative along directions, [n, q].

        The gradients of a few examples at a time are written down and forgotten again.
        """
        with unmoved_generators():  # the rest is then differentiated at the same numbers
            reading = self.read(function, batch)
        found = [
            inner(layer, uses, directions[layer])
            for layer, uses in reading.uses.items()
            if layer in directions
        ]
        others = [*reading.partial, *([self.rest] if self.rest else [])]
        others = [part for part in others if part in directions]
        for part, block in self._others(function, batch, len(reading.values), others).items():
            found.append(block.inner(directions[part]))
        if not found:  # nothing of what moves bears on these examples
            count = len(next(iter(directions.values())))
            return reading.values, reading.values.new_zeros(len(reading.values), count)
        return reading.values, torch.stack(found).sum(dim=0)

    def read(self, function: Function, batch: Batch) -> Reading:
        """What the layers that are read off saw in one pass."""
        return read(function, self.model, batch, self.layers)

    def _others(
        self, function: Function, batch: Batch, count: int, parts: Sequence[Part]
    ) -> dict[Part, Block]:
        """Gradients by parts that cannot be read off, each [n, size]."""
        names = {name for part in parts for name in part.weights}
        if not names:
            return {}
        weights = {name: w for name, w in _trainable(self.model).items() if name in names}
        gradients = self._at_once(function, batch, weights)
        if gradients is None:
            gradients = self._in_turn(function, batch, count, weights)
        return {part: Written(part.pack(gradients)) for part in parts}

    def _at_once(
        self, function: Function, batch: Batch, weights: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """Gradients per example by `torch.func`; None, for good, where that cannot be."""
        held = {name: weight.detach() for name, weight in weights.items()}
        still = {name: w.detach() for name, w in self.model.named_parameters() if name not in held}

        def one(held: Mapping[str, Tensor], example: Batch) -> Tensor:
            alone = mapped(example, lambda part: part[None])
            return call(function, self.model, alone, {**still, **held})[0]

        if self.one_by_one:
            return None
        try:
            with plain_kernels(self.model):
                found: dict[str, Tensor] = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0))(
                    held, batch
                )
        except _FAILS as error:  # an operator, or the task itself, that cannot be batched over
            if out_of_memory(error):
                raise
            self.one_by_one = True
            return None
        return found

    def _in_turn(
        self, function: Function, batch: Batch, count: int, weights: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Gradients per example, one after another."""
        rows = []
        for place in range(count):
            value = call(
                function, self.model, sliced(batch, slice(place, place + 1)), weights
            ).sum()
            found: Sequence[Tensor | None] = [None] * len(weights)
            if value.requires_grad:
                found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
            parts = zip(weights.items(), found, strict=True)
            rows.append(
                {
                    n: (torch.zeros_like(w) if part is None else _dense(part))
                    for (n, w), part in parts
                }
            )
        return {name: torch.stack([row[name] for row in rows]) for name in weights}

    def _agreeing(self, function: Function, pool: Pool, device: torch.device) -> list[Layer]:
        """The layers whose gradients are those of each example alone."""
        spread = np.linspace(0, len(pool) - 1, min(_COMPARED, len(pool)))
        places = np.unique(spread.astype(np.int64))
        alone = []
        for place in places:
            batch = collate(pool, np.array([place], dtype=np.int64), device=device)
            values = call(function, self.model, batch, None)
            per_example(values, pool, np.array([place]), what="measure")
            alone.append(gradient(values.sum(), self.model))
        agreeing = self.layers
        for order in (np.arange(len(places)), np.arange(len(places))[::-1]):
            together = collate(pool, places[order], device=device)
            values = call(function, self.model, together, None)
            per_example(values, pool, places[order], what="measure")
            reading = self.read(function, together)
            agreeing = [layer for layer in agreeing if _agrees(layer, reading, alone, order)]
        return agreeing


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _agrees(
    layer: Layer, reading: Reading, alone: Sequence[Mapping[str, Tensor]], order: Positions
) -> bool:
    """Whether a layer's block holds the gradients that the examples have alone, in this order."""
    if layer in reading.partial:
        return False
    uses = reading.uses.get(layer, ())
    found = block_of(layer, uses).written() if uses else None
    return all(_same(layer, found, row, alone[place]) for row, place in enumerate(order))


def _same(layer: Layer, found: Tensor | None, row: int, alone: Mapping[str, Tensor]) -> bool:
    """Whether a row of the block is the gradient that the example has when it runs alone."""
    names = [name for name in layer.weights if name in alone]
    if found is None or not names:
        return found is None and not names
    mine = layer.unpack(found[row : row + 1])
    difference = sum(float((mine[name][0] - _dense(alone[name])).abs().sum()) for name in names)
    return (
        difference <= _AGREE * sum(float(_dense(alone[name]).abs().sum()) for name in names) + 1e-12
    )


def _dense(part: Tensor) -> Tensor:
    return part.to_dense() if part.is_sparse else part
