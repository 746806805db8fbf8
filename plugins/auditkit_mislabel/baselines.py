"""The cheap ways to find wrong labels, beside the audit's own way."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from auditkit import Holdout, Planted

ByName = Mapping[str, npt.NDArray[np.floating]]
"""A value per example, [example], by the name of the baseline."""

CONFIDENT = "confident learning"


def has_cleanlab() -> bool:
    """Whether the extra `[cleanlab]` is installed."""
    return find_spec("cleanlab") is not None


def baselines(held: Holdout) -> ByName:
    """A score per example and baseline, higher for worse: under the labels as given.

    Confident learning (Northcutt et al. 2021) is cleanlab's normalized margin on the out-of-sample
    probabilities of this run; it is left out where cleanlab is not installed.
    """
    found: dict[str, npt.NDArray[np.floating]] = {"training loss": held.inside}
    if held.classes is not None and has_cleanlab():
        found[CONFIDENT] = _confident(held, held.classes.targets)
    return found


def confident_recovery(held: Holdout, planted: Planted, compared: npt.NDArray[np.bool_]) -> float:
    """Average precision of confident learning on the planted labels, among those compared."""
    if held.classes is None:
        raise ValueError("A holdout without class tables holds no planted labels.")
    labels = held.classes.targets.copy()
    labels[planted.positions] = planted.labels
    positive = np.zeros(len(labels), dtype=bool)
    positive[planted.positions] = True
    score = _confident(held, labels)
    return float(average_precision_score(positive[compared], score[compared]))


def agreement(flagged: npt.NDArray[np.bool_], scores: ByName) -> dict[str, float]:
    """The share of the flagged examples that each baseline puts among its as many worst."""
    count = int(flagged.sum())
    if count == 0:
        return {}
    return {
        name: float(flagged[np.argsort(-score, kind="stable")[:count]].mean())
        for name, score in scores.items()
    }


def _confident(held: Holdout, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
    from cleanlab.rank import get_label_quality_scores  # noqa: PLC0415 - an optional extra

    quality: npt.NDArray[np.floating] = get_label_quality_scores(
        labels, held.probabilities_outside, method="normalized_margin"
    )
    return -quality
