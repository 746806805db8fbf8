"""Labels flipped on purpose, so that a run can measure itself.

A small share of the examples trains the replays under another label than its own. Which other label
follows the estimated confusion between classes, since labels are mistaken for what looks alike,
mixed with uniform draws, since some are typing errors. Nothing else in the run knows where they
are until the scores are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit import Planted
from auditkit.errors import LabelError

SHARE = 0.02
"""The share of the examples that is planted, but at least `LEAST` and at most twice the share."""

LEAST = 100


@dataclass(frozen=True)
class Planting:
    """Chooses what to plant: a function of the trained model's probabilities and the labels.

    Attributes:
        seed: for the choice.
        among: only the first so many examples are planted; trusted ones come after them.
    """

    seed: int
    among: int

    def __call__(
        self, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
    ) -> Planted:
        """Choose examples at random and another label for each, after the confusion of classes.

        Args:
            probabilities: [example, class], from the trained model.
            labels: int64 [example], as given.

        Raises:
            LabelError: one class, or a class with one example.
        """
        refuse_too_few(labels[: self.among])
        random = np.random.default_rng([self.seed % 2**64, 0x9A27])
        count = min(max(round(SHARE * self.among), LEAST), round(2 * SHARE * self.among))
        chosen = np.sort(random.permutation(self.among)[:count])
        odds = confusion(probabilities, labels)[labels[chosen]].cumsum(axis=1)
        drawn = random.random((count, 1)) * odds[:, -1:]
        return Planted(chosen.astype(np.int64), (drawn >= odds).sum(axis=1).astype(np.int64))


def refuse_too_few(labels: npt.NDArray[np.int64]) -> None:
    """Refuse labels that nothing can be held out of.

    Raises:
        LabelError: one class, or a class with one example.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise LabelError(
            "All labels are of one class: the mislabel audit needs at least two classes."
        )
    if counts.min() < 2:
        raise LabelError(
            f"Class {classes[counts.argmin()]} has one example: held out, nothing is left to learn "
            "it from; give it more examples or leave it out."
        )


def confusion(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """How a class is mistaken for others, [class, class]: rows sum to one, the diagonal is zero.

    Nothing is mistaken for a class that no label has: data may hold a part of a model's classes.

    Args:
        probabilities: [example, class].
        labels: int64 [example].
    """
    classes = probabilities.shape[1]
    others = ~np.eye(classes, dtype=bool)
    there = others & (np.bincount(labels, minlength=classes) > 0)
    possible = np.where(there.any(axis=1, keepdims=True), there, others)
    mean = np.zeros((classes, classes))
    np.add.at(mean, labels, probabilities.astype(np.float64))
    mean[~possible] = 0.0
    uniform = possible / possible.sum(axis=1, keepdims=True)
    totals = mean.sum(axis=1, keepdims=True)
    alike = np.divide(mean, totals, out=uniform.copy(), where=totals > 0)
    mixed: npt.NDArray[np.float64] = (alike + uniform) / 2
    return mixed
