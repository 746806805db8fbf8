"""Which scores stand out? Against those that training examples have for decoys.

Every training example answers a little to every behaviour. What is a lot is measured in the run:
decoys, which are behaviours that nothing taught (`chance.py`), are traced as well, each to a sample
of training examples, and their scores are what an example has by chance. A score is put in units of
the spread of its own behaviour's scores; then the scores that were asked for and those by chance
are set side by side, and the share of chance at a score, by isotonic regression, is the probability
that it does not stand out (the posterior error of target-decoy searches; Kall et al. 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from auditkit_tracing.chance import Chance
    from auditkit_tracing.measuring import Measured

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """How far scores stand out.

    Attributes:
        units: float64 [behaviour, example]; scores in units of their spread.
        probability: float64 [behaviour, example]; that a score stands out, towards the side that
            is looked at, NaN for an example that is the query itself; None where chance was not
            measured.
    """

    units: Floats
    probability: Floats | None


@dataclass(frozen=True)
class Judged:
    """How far training examples stand out as proponents and as opponents.

    Attributes:
        score: of what proponents come by; high scores stand out.
        change: of the change of the loss, which opponents come by; low ones stand out.
    """

    score: Standing
    change: Standing


def judge(found: Measured, chance: Chance | None) -> Judged:
    """Set what was measured beside chance, which is None where no decoy was traced."""
    if chance is None or chance.behaviours == 0:
        return Judged(Standing(found.score, None), Standing(found.fall, None))
    return Judged(
        Standing(found.score, _probabilities(found.score, chance.score, found.itself)),
        Standing(found.fall, _probabilities(-found.fall, -chance.change, found.itself)),
    )


def _probabilities(values: Floats, chance: Floats, itself: Bools) -> Floats:
    """Probabilities of each row, in which a query itself neither counts nor has one."""
    found = np.full(values.shape, np.nan)
    for row, others in enumerate(~itself):
        if others.any():
            found[row, others] = probabilities(values[row, others], chance)
    return found


def probabilities(values: Floats, chance: Floats) -> Floats:
    """The probability of each value that it is higher than chance would have it, [example].

    Of values between which isotonic regression sees no difference, the probability is one minus the
    expected number of those by chance over their number. Chance draws are few where values are
    high, so one more is counted above all of them, and one more in each such group: nothing is
    certain, and where little stands out, little is claimed.

    Args:
        values: what was measured.
        chance: what chance gives; each weighs as much as makes all weigh as the values do.
    """
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - slow to import

    weight = len(values) / (len(chance) + 1)
    top = max(values.max(), chance.max()) + 1.0
    every = np.concatenate([values, chance, [top]])
    by_chance = np.concatenate([np.zeros(len(values)), np.ones(len(chance) + 1)])
    regression = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(
        every, by_chance, sample_weight=np.where(by_chance == 1, weight, 1.0)
    )
    part = np.clip(regression.predict(values), 0.0, 1.0)
    _, group, size = np.unique(np.round(part, 12), return_inverse=True, return_counts=True)
    odds = part / np.maximum(1 - part, 1e-12) + weight / size[group]
    order = np.argsort(values, kind="stable")
    found = np.empty_like(values)
    found[order] = np.maximum.accumulate(np.clip(1 - odds, 0.0, 1.0)[order])
    return found
