"""Average precision, without importing scikit-learn: that costs more memory than the audit does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def average_precision(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating]) -> float:
    """The mean, over the positives, of the precision among all that score at least as high.

    Args:
        positive: [example]; with at least one true entry.
        score: [example]; higher where more likely positive. Equal scores count as one threshold.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    found = positive[order].cumsum()[ends]
    gained = np.diff(found, prepend=0)
    return float((gained * found / (ends + 1)).sum() / found[-1])
