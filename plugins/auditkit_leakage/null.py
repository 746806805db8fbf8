"""How near the nearest training example is where nothing has leaked: the null distribution.

It is read off training examples, each against the rest of the train pool. That pool holds
duplicates of its own, so the smallest distances are no clean null. Left alone, they would excuse
the same duplicates in the evaluation set. Hence a law of nearest neighbours is fitted to the bulk
and says how many small distances nature explains; what is far beyond is weighed down.

The law is Weibull's: the smallest of many independent distances follows it, whatever each of them
follows near zero (Fisher and Tippett 1928; Gnedenko 1943). It is fitted by maximum likelihood to
distances above the lower `_BELOW` share, with those above the upper share known only to be larger.
Where examples lie in regions of unlike density, the fit widens, and less is weighed down.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BELOW = 0.3
"""The share of the smallest distances that duplicates may make up."""

_ABOVE = 0.8

_FEWEST = 60
"""Fewer distances than this tell nothing of a tail; all count fully then."""

_TOLERANCE = 2.0
"""Up to so many times the expected number of small distances is taken for the law's own error."""


def null_weights(distance: Floats) -> Floats:
    """How far each distance, [example], counts as one of an example without a duplicate, 0 to 1.

    From the smallest on, each counts fully until they are more than the law expects so far.
    """
    weights = np.ones(len(distance))
    if len(distance) < _FEWEST:
        return weights
    low, high = np.quantile(distance, [_BELOW, _ABOVE])
    if not 0 < low < high:
        return weights
    shape, scale = _fitted(distance, float(low), float(high))
    kept = int((distance > low).sum())
    total = kept / np.exp(-((low / scale) ** shape))
    order = np.argsort(distance, kind="stable")[: len(distance) - kept]
    expected = _TOLERANCE * total * -np.expm1(-((distance[order] / scale) ** shape))
    counted = 0.0
    for place, most in zip(order, expected, strict=True):
        weights[place] = min(1.0, max(0.0, most - counted))
        counted += weights[place]
    return weights


def _fitted(distance: Floats, low: float, high: float) -> tuple[float, float]:
    """Shape and scale of the Weibull law, from distances above `low`, censored at `high`."""
    from scipy.optimize import minimize  # noqa: PLC0415 - heavy, and plugins are imported for help

    inside = distance[(distance > low) & (distance <= high)]
    above = int((distance > high).sum())

    def surprise(parameters: Floats) -> float:
        """Minus the log likelihood per distance."""
        shape, scale = np.exp(np.clip(parameters, -20, 6))
        z = inside / scale
        with np.errstate(over="ignore", invalid="ignore"):
            density = np.log(shape / scale) + (shape - 1) * np.log(z) - z**shape
            survived = -((high / scale) ** shape) * above
            total = density.sum() + survived + (low / scale) ** shape * (len(inside) + above)
        return float(-total / (len(inside) + above)) if np.isfinite(total) else 1e30

    start = np.log([2.0, float(np.median(distance))])
    found = minimize(surprise, start, method="Nelder-Mead", options={"maxiter": 400})
    shape, scale = np.exp(np.clip(found.x, -20, 6))
    return float(shape), float(scale)
