"""What the planted labels show: which weight finds them best, and how well every score does.

Each planted example counts as a positive under its planted label. The others count as negatives
under their own, save those more likely wrong than right, in the eyes of the models that did not
train on them or by all opinions together: they would count against whatever finds them.

Planted labels are drawn before anything is known of the real errors. Each therefore stands for as
many as the channel makes its exchange of classes more likely among the errors than the drawing did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from auditkit import ClassTables, Planted
from auditkit_mislabel.channel import Table, doubted, odds, own, recalibrated
from auditkit_mislabel.planting import confusion
from auditkit_mislabel.precision import average_precision

WEIGHTS = (0.25, 0.5, 0.75)
"""The weights of the replayed opinion, against the outside one, that calibration chooses from."""

NEARBY = 0.75
"""The weight of the neighbours' opinion beside outside and replayed, which share a weight of 1."""

_CLEARLY = 0.01
"""By how much another weight than the middle one must be better at the planted labels."""

_MOST = 10.0
"""For how many a planted label stands at most, before they are made to stand for one on average."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """What the planted labels showed.

    Attributes:
        weight: of the replayed opinion against the outside one.
        recovery: average precision of finding the planted labels, by score; empty where none were.
        compared: bool [example]; the planted examples and those they are told from.
        stands: [example]; for how many examples each stands, 1 where it is not planted.
    """

    weight: float
    recovery: dict[str, float]
    compared: Bools
    stands: Table


def calibrate(
    tables: ClassTables, nearby: Table | None, transition: Table, doubt: Table, known: Bools
) -> Calibration:
    """The weight that finds the planted labels best, and how well every score finds them.

    Args:
        tables: of a holdout, with planted labels or without.
        nearby: the neighbours' opinion, log probabilities [example, class], if it is heard.
        transition: the channel's T, [class, class].
        doubt: [example]; the probability that a label is wrong, by the outside opinion.
        known: bool [example]; labels known to be right.
    """
    planted = tables.planted
    if planted is None or len(planted.positions) == 0:
        return Calibration(WEIGHTS[1], {}, np.zeros(len(known), dtype=bool), np.ones(len(known)))
    labels = tables.targets.copy()
    labels[planted.positions] = planted.labels
    outside, replayed = tables.outside.astype(np.float64), tables.replayed.astype(np.float64)
    opinions = {
        weight: weighed((1 - weight) * outside + weight * replayed, nearby) for weight in WEIGHTS
    }
    middle = opinions[WEIGHTS[1]]
    together = recalibrated(transition, middle, tables.targets, known)
    suspected = (doubt >= 0.5) | (doubted(together, middle, tables.targets) >= 0.5)
    positive = np.zeros(len(labels), dtype=bool)
    positive[planted.positions] = True
    compared = positive | ~suspected | known
    stands = np.ones(len(labels))
    stands[positive] = _likeness(tables, planted, transition)

    def precision(score: Table) -> float:
        return average_precision(positive[compared], score[compared], stands[compared])

    found = {}
    for weight, mixed in opinions.items():
        tried = recalibrated(transition, mixed, labels, known)
        found[weight] = precision(odds(tried.log_posterior(mixed, labels), labels))
    best = max(WEIGHTS, key=lambda weight: found[weight])
    if found[best] < found[WEIGHTS[1]] + _CLEARLY:
        best = WEIGHTS[1]
    recovery = {
        "auditkit": found[best],
        "loss while training": precision(-own(replayed, labels)),
        "loss out of sample": precision(-own(outside, labels)),
        "sum of both losses": precision(-own(outside + replayed, labels)),
    }
    return Calibration(best, recovery, compared, stands)


def _likeness(tables: ClassTables, planted: Planted, transition: Table) -> Table:
    """How much likelier each planted exchange is among real errors, [planted]; 1 on average.

    At most `_MOST`, so that no single label decides.
    """
    before, after = tables.targets[planted.positions], planted.labels
    errors = transition * ~np.eye(len(transition), dtype=bool)
    drawn = confusion(np.exp(tables.inside), tables.targets)
    ratio = errors[before, after] / np.maximum(drawn[before, after], 1e-12)
    ratio = np.minimum(ratio / ratio.mean(), _MOST)
    likeness: Table = ratio / ratio.mean()
    return likeness


def weighed(
    replays: Table, *nearby: Table | None, inside: Table | float = 0.0, trust: float = 0.0
) -> Table:
    """All opinions together, log probabilities [example, class].

    Args:
        replays: outside and replayed together; their weight is 1.
        nearby: the neighbours' of each holdout; None where they are not heard.
        inside: the trained model's.
        trust: how far that is heard, 0 to 1; its weight is half of it.
    """
    heard = [table for table in nearby if table is not None]
    logs = replays + NEARBY * sum(heard) + trust / 2 * inside
    result: Table = log_softmax(logs / (1 + NEARBY * len(heard) + trust / 2), axis=1)
    return result
