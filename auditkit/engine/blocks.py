"""Gradients of many rows at once, layer by layer, without writing the Linear ones out.

A row is an example under some weighting of the model's outputs: its own loss, its margin, or one
direction of the curvature of its outputs. The gradients of n rows by one layer's weights are a
matrix [n, size]. For a Linear layer that was used at one place per example, each row of it is an
outer product of the slope at its output and its input, and everything that is asked of the matrix
(products with directions, weighted sums, inner products of rows) has a form that never makes it
(Grosse et al. 2023, section 3; what is quadratic in the layer's sides stays a product of two).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, Union

import torch
from torch import Tensor

_ENTRIES = 2**24
"""How many numbers an intermediate result may hold; 64 MiB in single precision."""


@dataclass(frozen=True)
class Written:
    """Gradients written out.

    Attributes:
        rows: [n, size].
    """

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def products(self, directions: Tensor) -> Tensor:
        """Each row times each direction: [n, q] for directions [q, size]."""
        return self.rows @ directions.T

    def combined(self, weights: Tensor) -> Tensor:
        """Weighted sums of the rows: [q, size] for weights [q, n]."""
        return weights @ self.rows

    def inner(self, other: Block) -> Tensor:
        """Inner products with the rows of another block of the same layer, [n, m]."""
        if isinstance(other, Outer):
            return other.inner(self).T
        return self.rows @ other.rows.T

    def squares(self) -> Tensor:
        """The sum of the squared rows, [size]."""
        return self.rows.square().sum(dim=0)

    def written(self) -> Tensor:
        """The rows themselves, [n, size]."""
        return self.rows

    def scaled(self, by: Tensor) -> Written:
        """Each row times its own number, [n]."""
        return Written(self.rows * by[:, None])


@dataclass(frozen=True)
class Outer:
    """Gradients as outer products of slopes and inputs, of size out * in.

    Attributes:
        slopes: [n, out].
        inputs: [n, in].
    """

    slopes: Tensor
    inputs: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def products(self, directions: Tensor) -> Tensor:
        """Each row times each direction: [n, q] for directions [q, out * in]."""
        out = self.slopes.shape[1]
        if len(directions) == 1:  # one direction meets the smaller side first
            through = self.inputs @ directions.view(out, -1).T
            return (through * self.slopes).sum(dim=1, keepdim=True)
        flat = directions.reshape(len(directions) * out, -1)
        chunk = max(_ENTRIES // len(flat), 1)
        found = [
            torch.einsum("nqo,no->nq", (inputs @ flat.T).view(len(inputs), -1, out), slopes)
            for slopes, inputs in zip(
                torch.split(self.slopes, chunk), torch.split(self.inputs, chunk), strict=True
            )
        ]
        return torch.cat(found)

    def combined(self, weights: Tensor) -> Tensor:
        """Weighted sums of the rows: [q, out * in] for weights [q, n]."""
        found = [
            ((self.slopes * weight[:, None]).T @ self.inputs).reshape(-1) for weight in weights
        ]
        return torch.stack(found)

    def inner(self, other: Block) -> Tensor:
        """Inner products with the rows of another block of the same layer, [n, m]."""
        if isinstance(other, Written):
            return self.products(other.rows)
        return (self.slopes @ other.slopes.T) * (self.inputs @ other.inputs.T)

    def squares(self) -> Tensor:
        """The sum of the squared rows, [out * in]."""
        return (self.slopes.square().T @ self.inputs.square()).reshape(-1)

    def written(self) -> Tensor:
        """The rows written out, [n, out * in]."""
        return torch.einsum("no,ni->noi", self.slopes, self.inputs).flatten(start_dim=1)

    def scaled(self, by: Tensor) -> Outer:
        """Each row times its own number, [n]."""
        return Outer(self.slopes * by[:, None], self.inputs)


Block: TypeAlias = Union[Written, Outer]
"""Gradients of n rows by one layer's weights, in one of two forms."""


def joined(blocks: Sequence[Block]) -> Block:
    """The rows of several blocks of one layer, one after another."""
    if all(isinstance(block, Outer) for block in blocks):
        outers = [block for block in blocks if isinstance(block, Outer)]
        return Outer(
            torch.cat([block.slopes for block in outers]),
            torch.cat([block.inputs for block in outers]),
        )
    return Written(torch.cat([block.written() for block in blocks]))
