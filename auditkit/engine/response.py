"""The train side: how much the moved weights change each example's measure.

`finite`: measure(z; theta_q) - measure(z; theta), two forward passes, the unmoved one taken once
per (model, pool) and kept. Nothing is differentiated at a training example.
"""

from __future__ import annotations

from torch import Tensor, nn

from auditkit.engine.passes import Executor, Function
from auditkit.engine.update import Update
from auditkit.pool import Pool


class FiniteResponse:
    """Finite differences of a measure over one pool, with the unmoved pass taken once."""

    def __init__(
        self, function: Function, model: nn.Module, pool: Pool, *, executor: Executor, what: str
    ) -> None:
        self._function, self._model, self._pool = function, model, pool
        self._executor, self._what = executor, what
        self._base: Tensor | None = None

    def base(self) -> Tensor:
        """The measure of each example under the trained weights, [example]."""
        if self._base is None:
            self._base = self._executor.measure(
                self._function, self._model, self._pool, what=self._what
            )
        return self._base

    def to(self, update: Update, *, examples: int) -> Tensor:
        """The response to an update, float32 [example], in units of influence.

        The difference is divided by step and by the number of training examples: with
        P = (H + damping)^-1 that is, to first order, the change of the query's measure if the
        example were left out of training (Koh and Liang 2017, equation 2, with the mirror's two
        sides exchanged).
        """
        base = self.base()  # before any weights are moved
        moved = self._executor.measure(
            self._function,
            self._model,
            self._pool,
            weights=update.moved(self._model),
            what=self._what,
        )
        return (moved.double() - base.double()).div(update.step * examples).float()
