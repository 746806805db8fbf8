"""From held-out measurements to a ranking with probabilities.

Three opinions of each example are combined, as mean log probabilities of the classes: what models
say that did not train on it (**outside**), what models say while they train on it (**replayed**),
and what the trained model says (**inside**).

- The weight between outside and replayed is calibrated on the planted labels.
- The trained model is heard as far as it has *not* simply learnt the labels by heart: its weight is
  the square of the share of the suspected labels that it contradicts. The square, because what is
  learnt by heart is said with great certainty, and a model that knows most labels by heart must be
  all but silent.

The noisy channel (`channel.py`) turns the combination into the odds that a label is wrong, which
rank the examples. How many labels are wrong in all is estimated from the channel on the outside
opinion alone, which memory of the labels colours least; one shift of all odds makes the
probabilities add up to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax

from auditkit import ClassTables
from auditkit_mislabel.channel import Channel, Labels, Table, fit_channel, recalibrated
from auditkit_mislabel.precision import average_precision

WEIGHTS = (0.25, 0.5, 0.75)
"""The weights of the replayed opinion, against the outside one, that calibration chooses from."""

_CLEARLY = 0.01
"""By how much another weight than the middle one must be better at the planted labels."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judgement:
    """What is claimed of each example.

    Attributes:
        score: [example]; log odds that the label is wrong, from all opinions.
        probability: [example]; that the label is wrong.
        suggested: int64 [example]; the likeliest class other than the label.
        trust: the weight of the trained model's opinion, 0 to 1.
        calibration: what the planted labels showed.
    """

    score: Table
    probability: Table
    suggested: Labels
    trust: float
    calibration: Calibration


@dataclass(frozen=True)
class Calibration:
    """What the planted labels showed.

    Attributes:
        weight: of the replayed opinion against the outside one.
        recovery: average precision of finding the planted labels, by score; empty where none were.
        compared: bool [example]; the planted examples and those they are told from.
    """

    weight: float
    recovery: dict[str, float]
    compared: Bools


def judge(
    tables: ClassTables, *, again: ClassTables | None = None, trusted: Bools | None = None
) -> Judgement:
    """Judge every label of a pool.

    Args:
        tables: of a holdout, with planted labels or without.
        again: of a second one, whose replays left out what the first found doubtful; its opinions
            count as much as the first's for the ranking, and not for how many labels are wrong in
            all, since they are as harsh on doubtful labels as the first judgement was.
        trusted: bool [example]; labels known to be right.
    """
    labels = tables.targets
    known = np.zeros(len(labels), dtype=bool) if trusted is None else trusted
    outside = tables.outside.astype(np.float64)
    channel = fit_channel(outside, labels, known)
    doubt = np.where(known, 0.0, doubted(channel, outside, labels))
    calibration = _calibrate(tables, channel, doubt, known)
    replays = _mixed(tables, calibration.weight)
    if again is not None:
        replays = (replays + _mixed(again, calibration.weight)) / 2
    trust = _trust(tables, doubt)
    everything = (replays + trust * tables.inside / 2) / (1 + trust / 2)
    final = recalibrated(channel.transition, everything, labels, known)
    posterior = final.log_posterior(everything, labels)
    score = _odds(posterior, labels)
    posterior[np.arange(len(labels)), labels] = -np.inf
    return Judgement(
        score=score,
        probability=_shifted(score, total=doubt[~known].sum(), counted=~known),
        suggested=posterior.argmax(axis=1).astype(np.int64),
        trust=trust,
        calibration=calibration,
    )


def _shifted(odds: Table, *, total: float, counted: Bools) -> Table:
    """Probabilities of log odds, all shifted alike, that add up to a total among those counted."""
    from scipy.optimize import brentq  # noqa: PLC0415 - slow to import

    total = float(np.clip(total, 1e-6, counted.sum() - 1e-6))
    far = 50.0 + np.abs(odds).max()
    shift = brentq(lambda by: expit(odds[counted] + by).sum() - total, -far, far)
    probability: Table = expit(odds + shift)
    return probability


def doubted(channel: Channel, logs: Table, labels: Labels) -> Table:
    """The probability that each label is wrong, [example]."""
    right = np.exp(_own(channel.log_posterior(logs, labels), labels))
    doubt: Table = np.clip(1 - right, 0.0, 1.0)
    return doubt


def _mixed(tables: ClassTables, weight: float) -> Table:
    """Outside and replayed opinions, normalized, [example, class].

    An example that trained the replays under a planted label has only its outside opinion.
    """
    mixed = (1 - weight) * tables.outside + weight * tables.replayed
    if tables.planted is not None:
        mixed[tables.planted.positions] = tables.outside[tables.planted.positions]
    result: Table = log_softmax(mixed.astype(np.float64), axis=1)
    return result


def _trust(tables: ClassTables, doubt: Table) -> float:
    """The square of the share of the suspected labels that the trained model contradicts."""
    suspected = doubt > 0.5
    if not suspected.any():
        return 0.0
    contradicts = tables.inside.argmax(axis=1) != tables.targets
    return float(contradicts[suspected].mean()) ** 2


def _calibrate(tables: ClassTables, channel: Channel, doubt: Table, known: Bools) -> Calibration:
    """The weight that finds the planted labels best, and how well every score finds them.

    Each planted example counts as a positive under its planted label. The others count as negatives
    under their own, save those more likely wrong than right, which are left out.
    """
    planted = tables.planted
    if planted is None or len(planted.positions) == 0:
        return Calibration(WEIGHTS[1], {}, np.zeros(len(known), dtype=bool))
    labels = tables.targets.copy()
    labels[planted.positions] = planted.labels
    positive = np.zeros(len(labels), dtype=bool)
    positive[planted.positions] = True
    compared = positive | (doubt < 0.5)
    outside = tables.outside.astype(np.float64)
    replayed = tables.replayed.astype(np.float64)

    def precision(score: Table) -> float:
        return average_precision(positive[compared], score[compared])

    found = {}
    for weight in WEIGHTS:
        mixed = log_softmax((1 - weight) * outside + weight * replayed, axis=1)
        tried = recalibrated(channel.transition, mixed, labels, known)
        found[weight] = precision(_odds(tried.log_posterior(mixed, labels), labels))
    best = max(WEIGHTS, key=lambda weight: found[weight])
    if found[best] < found[WEIGHTS[1]] + _CLEARLY:
        best = WEIGHTS[1]
    recovery = {
        "auditkit": found[best],
        "loss while training": precision(-_own(replayed, labels)),
        "loss out of sample": precision(-_own(outside, labels)),
        "sum of both losses": precision(-_own(outside + replayed, labels)),
    }
    return Calibration(best, recovery, compared)


def _own(table: Table, labels: Labels) -> Table:
    """Each example's entry for its label, [example]."""
    entries: Table = table[np.arange(len(labels)), labels]
    return entries


def _odds(posterior: Table, labels: Labels) -> Table:
    """Log odds that the label is wrong, from log posteriors; the sum over the other classes."""
    others = posterior.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    wrong: Table = np.logaddexp.reduce(others, axis=1)
    return wrong - _own(posterior, labels)
