"""Average precision, without importing scikit-learn: that costs more memory than the audit does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def average_precision(
    positive: npt.NDArray[np.bool_],
    score: npt.NDArray[np.floating],
    weight: npt.NDArray[np.floating] | None = None,
) -> float:
    """The mean, over the positives, of the precision among all that score at least as high.

    Args:
        positive: [example]; with at least one true entry.
        score: [example]; higher where more likely positive. Equal scores count as one threshold.
        weight: [example]; how many examples each stands for; by default one.
    """
    stands = np.ones(len(score)) if weight is None else weight
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    found = (stands * positive)[order].cumsum()[ends]
    gained = np.diff(found, prepend=0)
    return float((gained * found / stands[order].cumsum()[ends]).sum() / found[-1])
