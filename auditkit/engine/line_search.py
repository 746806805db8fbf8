"""The step at which a measure has risen by a stated amount."""

from __future__ import annotations

import math
from collections.abc import Callable

from auditkit.errors import StepError

_TOLERANCE = 0.05
_READINGS = 60
_BELOW = 8
_LEAST = 1e-3
"""Of the rise that is asked for: where a measure never rises as far, it does not rise."""
_CLOSEST = 1e-6


def line_search(
    rise_at: Callable[[float], float],
    *,
    rise: float,
    guess: float,
    query: str,
    asked: float | None = None,
) -> tuple[float, float]:
    """The smallest step at which the rise is `rise` within 5 %, and the rise it was sought for.

    The measure need not rise forever along the update: the search begins far below the first-order
    guess, doubles until the rise is reached for the first time, and closes in by geometric means.
    Where it is never reached, half the highest rise seen is sought instead; where the measure jumps
    over it, the step is the one just beyond the jump. The weights are reset before every reading:
    `rise_at` starts from the trained ones each time.

    Args:
        rise_at: the rise at a step.
        rise: how far the measure is to rise.
        guess: a step that would reach it, were the measure linear.
        query: the query's name, for messages.
        asked: how far it was to rise at first, where this is a second search.

    Raises:
        StepError: the measure never rises.
    """
    low, high, beyond, best = 0.0, math.inf, math.nan, 0.0
    asked = rise if asked is None else asked
    step = guess / 2**_BELOW
    for _ in range(_READINGS):
        reached = rise_at(step)
        best = max(best, reached) if math.isfinite(reached) else best
        if abs(reached - rise) <= _TOLERANCE * rise:
            return step, rise
        if reached < rise:
            low = step
        else:
            high, beyond = step, reached
        if math.isinf(high):
            step = step * 2
        elif high - low > _CLOSEST * high:
            step = math.sqrt(low * high) if low > 0 else high / 2
        else:
            break
    if math.isfinite(beyond):
        return high, rise
    best = min(best, rise)
    if not best > _LEAST * asked:
        raise StepError(
            f"No step along the update raises the measure of query {query!r} (highest rise seen: "
            f"{best:.3g}): its loss may have saturated; ask for a smaller rise, or "
            'measure="margin" where the task has one.'
        )
    return line_search(rise_at, rise=best / 2, guess=guess, query=query, asked=asked)
