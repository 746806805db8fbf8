"""What an estimate of the curvature adds up over batches of probes, part by part of the model.

Layers that get Kronecker factors: second moments of their inputs and slopes. Other layers that are
read off: squares of their gradients per example. The rest, whose gradients per example would cost
much more: squares estimated from gradients of sums with random signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from auditkit.engine.kfac import Factors, Sums
from auditkit.engine.layers import Dense, Part
from auditkit.engine.passes import Function, at_least_single
from auditkit.engine.per_example import Reader
from auditkit.engine.probes import Probes
from auditkit.engine.uses import block_of
from auditkit.gradients import gradient

if TYPE_CHECKING:
    from auditkit.subject import Batch


@dataclass(frozen=True)
class Found:
    """What one batch adds.

    Attributes:
        sums: of the layers that get factors, by name.
        squares: [size] of the other layers, packed.
        signed: sums of signed gradients of the rest, as `Signed` gives them.
    """

    sums: Mapping[str, Sums]
    squares: Mapping[Part, Tensor]
    signed: Mapping[int, Tensor]


class Gathered:
    """Sums over the batches so far.

    Args:
        reader: reads gradients off the model.
        probes: what is differentiated.
        dense: the layers that get factors, by name.
        seed: for the signs.
    """

    def __init__(
        self, reader: Reader, probes: Probes, dense: Mapping[str, Dense], *, seed: int
    ) -> None:
        self._reader, self._probes, self._dense = reader, probes, dense
        self._sums = {name: Sums() for name in dense}
        self._squares: dict[Part, Tensor] = {
            layer: torch.zeros(()) for layer in reader.layers if layer.name not in dense
        }
        self._rest = None if reader.rest is None else Signed(reader.rest, len(probes), seed)

    def read(self, where: slice) -> Found:
        """What some of the probes add; nothing is added yet."""
        batch, function = self._probes.pairs(where), self._probes.function
        uses = self._reader.read(function, batch).uses
        sums: dict[str, Sums] = {}
        squares: dict[Part, Tensor] = {}
        for layer, own in uses.items():
            if layer.name in self._dense:
                sums[layer.name] = Sums.of(self._dense[layer.name], own)
            else:
                squares[layer] = block_of(layer, own).squares()
        if self._rest is None:
            return Found(sums, squares, {})
        return Found(sums, squares, self._rest.of(function, self._reader.model, batch, where))

    def add(self, found: Found) -> None:
        """Take in what a batch adds, in order."""
        for name, sums in found.sums.items():
            self._sums[name].add(sums)
        for part, squares in found.squares.items():
            self._squares[part] = self._squares[part] + squares
        if self._rest is not None:
            self._rest.add(found.signed)

    def factors(self) -> dict[str, Factors]:
        """Factors of the layers that are to get them and were run, by name."""
        found = {n: own.factors(examples=len(self._probes)) for n, own in self._sums.items()}
        return {name: own for name, own in found.items() if own is not None}

    def diagonal(self) -> dict[str, Tensor]:
        """Mean squares of all other parameters' gradients, by name and of their shapes."""
        whole = dict(self._squares)
        if self._rest is not None:
            whole[self._rest.part] = self._rest.squares()
        found: dict[str, Tensor] = {}
        for part, total in whole.items():
            size = sum(shape.numel() for shape in part.weights.values())
            row = (total / len(self._probes)).expand(1, size)
            found |= {name: own[0] for name, own in part.unpack(row).items()}
        return found


class Signed:
    """Estimates summed squares of a part's gradients per example from the gradients of sums.

    Each example's gradient gets a random sign, so the cross terms between the examples of a sum
    vanish in expectation (Liu et al. 2023, Sophia, section 2.3). Which examples are summed is
    fixed, whatever the batches are.

    Args:
        part: the parameters.
        count: how many examples there are in all.
        seed: for the signs.
    """

    _SUMMED = 32

    def __init__(self, part: Part, count: int, seed: int) -> None:
        self.part = part
        generator = torch.Generator().manual_seed(seed)
        self._signs = 2 * torch.randint(0, 2, (count,), generator=generator) - 1
        self._group, self._open = 0, torch.zeros(())
        self._squares = torch.zeros(())

    def of(
        self, function: Function, model: nn.Module, batch: Batch, where: slice
    ) -> dict[int, Tensor]:
        """Sums of the batch's signed gradients, [size], by the number of the sum they belong to."""
        numbers = torch.arange(where.start, where.stop) // self._SUMMED
        found = {}
        for number in range(int(numbers[0]), int(numbers[-1]) + 1):  # mostly one
            values = function(model, batch)
            signs = (self._signs[where] * (numbers == number)).to(values.device)
            slopes = gradient((values * signs).sum(), model)
            own = {
                name: slopes[name].to_dense() if name in slopes else torch.zeros_like(weight)
                for name, weight in model.named_parameters()
                if name in self.part.weights
            }
            packed = self.part.pack({name: slope[None] for name, slope in own.items()})[0]
            found[number] = packed.to(at_least_single(packed.dtype))
        return found

    def add(self, sums: Mapping[int, Tensor]) -> None:
        """Take in sums of a batch, in order."""
        for number, own in sums.items():
            if number != self._group:
                self._squares = self._squares + self._open.square()
                self._group, self._open = number, torch.zeros(())
            self._open = self._open + own

    def squares(self) -> Tensor:
        """The estimate, [size]."""
        return self._squares + self._open.square()
