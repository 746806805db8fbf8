"""The train side: how much moved weights change each example's measure.

`finite`: measure(z; theta_q) - measure(z; theta), two forward passes, the unmoved one taken once
per (model, pool) and kept. Nothing is differentiated at a training example.

`first-order`: the derivative along the update, of which the finite difference is the limit for
small steps. Two ways to the same numbers: `tangent` carries one query's direction through the
forward pass (`torch.func.jvp`), `products` takes per-example gradients once for all queries
(`products.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.engine.passes import (
    Executor,
    Function,
    Weights,
    at_least_single,
    call,
    common_numbers,
    out_of_memory,
)
from auditkit.engine.prefix import Prefixed, shared_prefix
from auditkit.gradients import plain_kernels
from auditkit.pool import Pool, Positions

if TYPE_CHECKING:
    from auditkit.subject import Batch

Response: TypeAlias = Literal["finite", "first-order", "tangent", "products"]
"""What is read off the train side; `first-order` takes the cheaper of the last two."""

_TANGENT_BATCH = 128
"""Examples at once where derivatives are carried along, which takes as much memory again."""

_APART = 1e-3


class Responses:
    """Changes of a measure over one pool under the moved weights of one query after another.

    Args:
        function: the train-side measure.
        model: the trained model, in evaluation mode.
        pool: the examples.
        moving: names of the parameters that move.
        executor: runs the passes.
        device: where the model is.
        what: the measure's name, for messages.

    Attributes:
        untraced: whether a part of the model does not move and yet runs for every query.
    """

    def __init__(
        self,
        function: Function,
        model: nn.Module,
        pool: Pool,
        *,
        moving: Sequence[str],
        executor: Executor,
        device: torch.device,
        what: str = "measure",
    ) -> None:
        self.function, self.model, self.pool = function, model, pool
        self.executor, self.what = executor, what
        first = collate(pool, np.zeros(1, dtype=np.int64), device=device)
        self.prefix, traced = shared_prefix(model, moving, function, first)
        self.untraced = not traced
        self._forward = True

    def base(self) -> Tensor:
        """The measure of each example under the trained weights, [example]."""
        return self.executor.measure(self.function, self.model, self.pool, what=self.what)

    def moved(self, weights: Sequence[Weights]) -> Tensor:
        """The measure of each example under each of some weights, [q, example]."""

        def run(batch: Batch, where: Positions) -> Tensor:
            self._next_batch()
            found = [self._call(batch, where, own) for own in weights]
            return torch.stack(found, dim=1)

        with torch.no_grad():
            return self.executor.each(self.pool, run, doing=f"measuring the {self.what}").T

    def tangents(self, directions: Sequence[Weights]) -> Tensor:
        """The measure's derivative along each of some directions, [q, example]."""

        def run(batch: Batch, where: Positions) -> Tensor:
            self._next_batch()
            found = [self._tangent(batch, where, own) for own in directions]
            return torch.stack(found, dim=1)

        with torch.no_grad(), plain_kernels(self.model):
            return self.executor.each(
                self.pool, run, batch_size=_TANGENT_BATCH, doing=f"measuring the {self.what}"
            ).T

    @property
    def forward_mode(self) -> bool:
        """Whether derivatives are carried forward; if not, they are central differences."""
        return self._forward

    def _tangent(self, batch: Batch, where: Positions, direction: Weights) -> Tensor:
        own = dict(self.model.named_parameters())
        at = {name: own[name].detach() for name in direction}
        along = {name: part.to(at[name].dtype) for name, part in direction.items()}
        if self._forward:
            try:
                found: Tensor = torch.func.jvp(
                    lambda w: self._call(batch, where, w), (at,), (along,)
                )[1]
                return found.detach()
            except (NotImplementedError, RuntimeError) as error:
                if out_of_memory(error):
                    raise
                self._forward = False  # an operator without a forward derivative
        length = sum(float(part.double().square().sum()) for part in along.values()) ** 0.5
        size = sum(float(part.double().square().sum()) for part in at.values()) ** 0.5
        apart = _APART * max(size, 1e-3) / max(length, 1e-30)
        ends = [
            self._call(batch, where, {n: at[n] + sign * apart * along[n] for n in at})
            for sign in (1, -1)
        ]
        difference: Tensor = (ends[0].double() - ends[1].double()) / (2 * apart)
        return difference.float()

    def _call(self, batch: Batch, where: Positions, weights: Weights) -> Tensor:
        model: nn.Module = self.model
        if self.prefix is not None:
            model, weights = self.prefix, {f"traced.{n}": own for n, own in weights.items()}
        with common_numbers(self.pool, where):
            values = call(self.function, model, batch, weights)
        precise: Tensor = values.to(at_least_single(values.dtype))
        return precise

    def _next_batch(self) -> None:
        if isinstance(self.prefix, Prefixed):
            self.prefix.forget()
