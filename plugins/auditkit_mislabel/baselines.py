"""The cheap ways to find wrong labels, beside the audit's own way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from auditkit import Holdout, Planted
from auditkit_mislabel.precision import average_precision

ByName = Mapping[str, npt.NDArray[np.floating]]
"""A value per example, [example], by the name of the baseline."""

CONFIDENT = "confident learning"


def baselines(held: Holdout) -> ByName:
    """A score per example and baseline, higher for worse: under the labels as given.

    Confident learning (Northcutt et al. 2021) ranks by the normalized margin, cleanlab's score, on
    the out-of-sample probabilities of this run.
    """
    found: dict[str, npt.NDArray[np.floating]] = {"training loss": held.inside}
    if held.classes is not None and held.probabilities_outside is not None:
        found[CONFIDENT] = _confident(held.probabilities_outside, held.classes.targets)
    return found


def confident_recovery(
    held: Holdout,
    planted: Planted,
    compared: npt.NDArray[np.bool_],
    stands: npt.NDArray[np.floating] | None = None,
) -> float:
    """Average precision of confident learning on the planted labels, among those compared.

    Args:
        held: what it is computed from.
        planted: the labels to find.
        compared: bool [example]; the planted examples and those they are told from.
        stands: [example]; for how many each stands; by default one.
    """
    if held.classes is None or held.probabilities_outside is None:
        raise ValueError("A holdout without class tables holds no planted labels.")
    labels = held.classes.targets.copy()
    labels[planted.positions] = planted.labels
    positive = np.zeros(len(labels), dtype=bool)
    positive[planted.positions] = True
    score = _confident(held.probabilities_outside, labels)
    return average_precision(
        positive[compared], score[compared], None if stands is None else stands[compared]
    )


def agreement(flagged: npt.NDArray[np.bool_], scores: ByName) -> dict[str, float]:
    """The share of the flagged examples that each baseline puts among its as many worst."""
    count = int(flagged.sum())
    if count == 0:
        return {}
    return {
        name: float(flagged[np.argsort(-score, kind="stable")[:count]].mean())
        for name, score in scores.items()
    }


def _confident(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating]:
    """The margin of the best other class above the label, from -1 to 0: cleanlab's, negated."""
    rows = np.arange(len(labels))
    own, others = probabilities[rows, labels], probabilities.copy()
    others[rows, labels] = -np.inf
    margin: npt.NDArray[np.floating] = (others.max(axis=1) - own - 1) / 2
    return margin
