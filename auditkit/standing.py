"""How far scores stand out of the others of their query.

Scores of two queries, or two readings of one, have no scale in common. In units of the spread of
their own row they can be compared, and two readings of the same examples become one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


def in_units(scores: npt.NDArray[np.floating]) -> Floats:
    """Scores in units of the spread of their row, from its middle: float64 [row, example].

    The spread is the median absolute deviation, in standard deviations of a normal distribution;
    where more than half of the scores are alike, it is their root mean square from the middle.
    """
    middle = np.median(scores, axis=1, keepdims=True)
    away = scores - middle
    spread = _NORMAL * np.median(np.abs(away), axis=1, keepdims=True)
    usual = np.sqrt((away**2).mean(axis=1, keepdims=True))
    spread = np.where(spread > 1e-9 * usual, spread, usual)
    found: Floats = away / np.where(spread > 0, spread, 1.0)
    return found


def together(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Floats:
    """One score from two readings of the same examples: float64 [row, example].

    The sum of log(1 + u) of both, u being how many units of its spread a reading is above the
    middle, or none. What stands out by both comes before what stands out by one; what stands out by
    one keeps what that gives it, however low the other is. Nothing is below zero.
    """
    found: Floats = _outstanding(first) + _outstanding(second)
    return found


def _outstanding(scores: npt.NDArray[np.floating]) -> Floats:
    found: Floats = np.log1p(np.clip(in_units(scores), 0.0, None))
    return found
