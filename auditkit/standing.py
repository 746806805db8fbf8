"""How far scores stand out of the others of their query.

Scores of two queries, or two readings of one, have no scale in common. In units of the spread of
their own row they can be compared, and two readings of the same examples become one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


def in_units(scores: npt.NDArray[np.floating], counted: Bools | None = None) -> Floats:
    """Scores in units of the spread of their row, from its middle: float64 [row, example].

    The spread is the median absolute deviation, in standard deviations of a normal distribution;
    where more than half of the scores are alike, it is their root mean square from the middle.

    Args:
        scores: [row, example].
        counted: bool [row, example]; those that middle and spread are taken of, by default all. A
            query that is among the examples should not count.
    """
    found = np.zeros(scores.shape)
    for row, own in enumerate(scores.astype(np.float64)):
        others = own if counted is None else own[counted[row]]
        if len(others):
            middle = np.median(others)
            found[row] = (own - middle) / _spread(others - middle)
    return found


def together(
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    counted: Bools | None = None,
) -> Floats:
    """One score from two readings of the same examples: float64 [row, example].

    The sum of log(1 + u) of both, u being how many units of its spread a reading is above the
    middle, or none. What stands out by both comes before what stands out by one; what stands out by
    one keeps what that gives it, however low the other is. It is in units already, so that rows can
    be compared. It has no opponents: nothing is below zero, and what neither reading has above zero
    is zero.

    Args:
        first: one reading, [row, example], above zero for proponents.
        second: the other.
        counted: as for `in_units`.
    """
    up = [np.log1p(np.clip(in_units(own, counted), 0.0, None)) for own in (first, second)]
    found: Floats = np.where((first > 0) | (second > 0), up[0] + up[1], 0.0)
    return found


def _spread(away: Floats) -> float:
    """That of distances from the middle; 1 where there are none."""
    usual = float(np.sqrt((away**2).mean()))
    spread = _NORMAL * float(np.median(np.abs(away)))
    return (spread if spread > 1e-9 * usual else usual) or 1.0
