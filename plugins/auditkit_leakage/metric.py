"""The metric with and without the leaked examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit import Evaluation

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ACCURACY, ERROR = "accuracy", "mean squared error"

_DRAWS = 2_000
_AT_ONCE = 2**22
"""How many draws of an example are held at once, to save memory."""


@dataclass(frozen=True)
class Compared:
    """A metric on all evaluation examples and on those that are not flagged.

    Attributes:
        name: accuracy, or mean squared error.
        whole: on all.
        clean: on those not flagged; None where all are.
        low, high: the 95 % interval of `whole - clean`, by drawing the examples again (a paired
            bootstrap: both are computed on the same draw).
    """

    name: str
    whole: float
    clean: float | None
    low: float
    high: float

    @property
    def difference(self) -> float | None:
        """How much larger the metric is with the flagged examples."""
        return None if self.clean is None else self.whole - self.clean


def values(evaluation: Evaluation, likelihood: str | None) -> tuple[str, Floats] | None:
    """The metric's name and its value for each example; None where the outputs do not say it."""
    outputs, targets = evaluation.outputs, evaluation.targets
    if outputs is None or targets is None:
        return None
    if likelihood == "categorical":
        return ACCURACY, (outputs.argmax(axis=1) == targets).astype(np.float64)
    if likelihood == "gaussian":
        error = outputs.reshape(len(outputs), -1).astype(np.float64)
        error -= targets.reshape(len(targets), -1)
        return ERROR, (error**2).mean(axis=1)
    return None


def compare(name: str, value: Floats, flagged: Bools, *, seed: int = 0) -> Compared:
    """The mean of a value on all examples and on those that are not flagged.

    Args:
        name: the metric's.
        value: float64 [example].
        flagged: bool [example].
        seed: for the draws.
    """
    whole, clean = float(value.mean()), ~flagged
    if not clean.any():
        return Compared(name, whole, None, np.nan, np.nan)
    random, count = np.random.default_rng([seed, 0x3E7]), len(value)
    differences: list[Floats] = []
    for size in _parts(_DRAWS, max(1, _AT_ONCE // count)):
        drawn = random.integers(0, count, (size, count))
        kept = clean[drawn]
        left = np.where(kept, value[drawn], 0.0).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
        differences.append((value[drawn].mean(axis=1) - left)[kept.any(axis=1)])
    low, high = np.quantile(np.concatenate(differences), [0.025, 0.975])
    return Compared(name, whole, float(value[clean].mean()), float(low), float(high))


def _parts(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]
