"""Kronecker-factored curvature of layers that multiply: KFAC, and EK-FAC with mended eigenvalues.

The Gauss-Newton block of a layer with weights [out, in] is approximated by A x G: A the second
moment of the layer's inputs, summed over the places where the weights are used (the positions of a
convolution or a sequence), G the second moment of the gradients at its outputs, averaged over
them (Martens and Grosse 2015; Grosse and Martens 2016, section 3). It is inverted in the eigenbasis
of both factors, where damping is exact: no splitting of the damping between the factors. EK-FAC
keeps that basis and puts the true second moments of the gradients in it in place of the products of
eigenvalues (George et al. 2018, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from auditkit.engine.layers import Dense
from auditkit.engine.passes import at_least_single
from auditkit.engine.uses import Use


@dataclass(frozen=True)
class Factors:
    """The factors of one layer, as eigenvalues and eigenvectors.

    Attributes:
        input_values, input_vectors: of A, [in (+ 1)] and [in (+ 1), in (+ 1)].
        output_values, output_vectors: of G, [out] and [out, out].
        moments: [out, in (+ 1)]; the curvature along each pair of eigenvectors: products of
            eigenvalues for KFAC, measured second moments for EK-FAC.
    """

    input_values: Tensor
    input_vectors: Tensor
    output_values: Tensor
    output_vectors: Tensor
    moments: Tensor

    def solve(self, packed: Tensor, *, ridge: float) -> Tensor:
        """(H + ridge)^-1 times gradients [q, out * in (+ 1)], packed as the layer's blocks are."""
        block = packed.to(self.input_vectors.dtype).view(len(packed), *self.moments.shape)
        rotated = self.output_vectors.T @ block @ self.input_vectors
        rotated = rotated / (self.moments + ridge)
        solved = self.output_vectors @ rotated @ self.input_vectors.T
        return solved.flatten(start_dim=1)


@dataclass
class Sums:
    """Running second moments of one layer's inputs and of the slopes at its outputs."""

    inputs: Tensor | None = None
    slopes: Tensor | None = None
    places: int = 0

    @classmethod
    def of(cls, layer: Dense, uses: Sequence[Use]) -> Sums:
        """Those of what one batch left behind."""
        found = cls()
        for rows, slopes in places_of(layer, uses):
            found.add(cls(_moment(rows), _moment(slopes), rows.shape[0] * rows.shape[1]))
        return found

    def add(self, other: Sums) -> None:
        """Take in more."""
        self.places += other.places
        self.inputs = _plus(self.inputs, other.inputs)
        self.slopes = _plus(self.slopes, other.slopes)

    def factors(self, *, examples: int) -> Factors | None:
        """The factors of what was seen; None for a layer that was never run."""
        if self.inputs is None or self.slopes is None:
            return None
        inputs = torch.linalg.eigh(self.inputs / examples)
        outputs = torch.linalg.eigh(self.slopes / self.places)
        input_values = inputs.eigenvalues.clamp(min=0)
        output_values = outputs.eigenvalues.clamp(min=0)
        return Factors(
            input_values=input_values,  # laid out as they are when read back from a file
            input_vectors=inputs.eigenvectors.contiguous(),
            output_values=output_values,
            output_vectors=outputs.eigenvectors.contiguous(),
            moments=torch.outer(output_values, input_values),
        )


@dataclass
class Moments:
    """Running second moments of gradients per example in the factors' eigenbases."""

    factors: Mapping[str, Factors]
    sums: dict[str, Tensor] = field(default_factory=dict)

    def of(self, layer: Dense, uses: Sequence[Use]) -> Tensor:
        """Those of what one batch left behind, [out, in (+ 1)]."""
        factors = self.factors[layer.name]
        rotated = [
            (rows @ factors.input_vectors, slopes @ factors.output_vectors)
            for rows, slopes in places_of(layer, uses)
        ]
        if len(rotated) == 1 and rotated[0][0].shape[1] == 1:  # squares of outer products factor
            [(rows, slopes)] = rotated
            return slopes[:, 0].square().T @ rows[:, 0].square()
        blocks = sum(torch.bmm(slopes.transpose(1, 2), rows) for rows, slopes in rotated)
        return torch.as_tensor(blocks).square().sum(dim=0)

    def add(self, name: str, found: Tensor) -> None:
        """Take in more of a layer."""
        self.sums[name] = found + self.sums.get(name, torch.zeros_like(found))

    def mended(self, *, examples: int) -> dict[str, Factors]:
        """The factors with these moments; as they were for layers that were not seen again."""
        return {
            name: replace(factors, moments=self.sums[name] / examples)
            if name in self.sums
            else factors
            for name, factors in self.factors.items()
        }


def places_of(layer: Dense, uses: Sequence[Use]) -> list[tuple[Tensor, Tensor]]:
    """Inputs [n, place, in (+ 1)] and slopes [n, place, out] of each use, in single precision."""
    found = []
    for use in uses:
        if use.slope is not None:
            slope = use.slope.to(at_least_single(use.slope.dtype))
            found.append((layer.inputs(use.value.to(slope.dtype)), layer.slopes(slope)))
    return found


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


def _moment(rows: Tensor) -> Tensor:
    """Sums of products over examples and places, [size, size] of rows [n, place, size]."""
    flat = rows.flatten(end_dim=1)
    return flat.T @ flat
