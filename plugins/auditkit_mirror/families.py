"""Losses of linear models: value, slope and curvature in the model's outputs.

Outputs are `inputs @ weights`. Arrays of outputs end in the axis [column]; any axes may stand
before it, so that many models are measured at once. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp, softmax

Table = npt.NDArray[np.float64]
Kind: TypeAlias = Literal["softmax", "logistic", "squared"]


class Family(Protocol):
    """A loss per example, convex in the outputs."""

    def loss(self, outputs: Table, targets: Table) -> Table:
        """The loss, [...], of outputs [..., column]."""

    def slope(self, outputs: Table, targets: Table) -> Table:
        """Its gradient by the outputs, [..., column]."""

    def curvature(self, outputs: Table) -> Table:
        """Its Hessian by the outputs, [..., column, column]."""


class Softmax:
    """Cross-entropy over classes; targets are one-hot, [..., class]."""

    def loss(self, outputs: Table, targets: Table) -> Table:
        """Minus the log probability of the target."""
        found: Table = logsumexp(outputs, axis=-1) - (outputs * targets).sum(axis=-1)
        return found

    def slope(self, outputs: Table, targets: Table) -> Table:
        """Probabilities less targets."""
        found: Table = outputs - outputs.max(axis=-1, keepdims=True)
        np.exp(found, out=found)
        found /= found.sum(axis=-1, keepdims=True)
        found -= targets
        return found

    def curvature(self, outputs: Table) -> Table:
        """Diag(p) - p p^T."""
        p = softmax(outputs, axis=-1)
        found: Table = p[..., None] * np.eye(p.shape[-1]) - p[..., :, None] * p[..., None, :]
        return found


class Logistic:
    """Cross-entropy of two classes by one log-odds; targets are 0 or 1, [..., 1]."""

    def loss(self, outputs: Table, targets: Table) -> Table:
        """Minus the log probability of the target."""
        found: Table = (np.logaddexp(0.0, outputs) - outputs * targets)[..., 0]
        return found

    def slope(self, outputs: Table, targets: Table) -> Table:
        """Probability less target."""
        found: Table = expit(outputs) - targets
        return found

    def curvature(self, outputs: Table) -> Table:
        """The variance p (1 - p)."""
        found: Table = (expit(outputs) * expit(-outputs))[..., None]
        return found


class Squared:
    """Squared error, averaged over the columns, as `auditkit.RegressionTask` has it."""

    def loss(self, outputs: Table, targets: Table) -> Table:
        """The mean of the squared residuals."""
        found: Table = np.square(outputs - targets).mean(axis=-1)
        return found

    def slope(self, outputs: Table, targets: Table) -> Table:
        """Twice the residuals, over the number of columns."""
        found: Table = 2 / outputs.shape[-1] * (outputs - targets)
        return found

    def curvature(self, outputs: Table) -> Table:
        """Constant: 2 over the number of columns."""
        count = outputs.shape[-1]
        return np.broadcast_to(2 / count * np.eye(count), (*outputs.shape, count))


FAMILIES: Mapping[Kind, Family] = {
    "softmax": Softmax(),
    "logistic": Logistic(),
    "squared": Squared(),
}
"""The losses by name."""
