"""From held-out measurements to a ranking with probabilities.

Four opinions of each example are combined, as mean log probabilities of the classes: what models
say that did not train on it (**outside**), what models say while they train on it (**replayed**),
what the labels of its neighbours say in the eyes of a model that did not train on it (**nearby**),
and what the trained model says (**inside**).

- The weight between outside and replayed is calibrated on the planted labels.
- Neighbours weigh three quarters of what outside and replayed do together, once for each holdout,
  if they name the given labels about as often as the models do. Planted labels cannot say whether
  to hear them: what neighbours find beyond the models, and rightly, would count against them.
- The trained model is heard as far as it has *not* simply learnt the labels by heart: its weight is
  the square of the share of the suspected labels that it contradicts. The square, because what is
  learnt by heart is said with great certainty, and a model that knows most labels by heart must be
  all but silent.

The noisy channel (`channel.py`) turns the combination into the odds that a label is wrong, which
rank the examples. How many labels are wrong in all is counted by the channel on the outside
opinion, which memory of the labels colours least, and by one on the neighbours; one shift of all
odds makes the probabilities add up to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax

from auditkit import ClassTables
from auditkit_mislabel.calibration import Bools, Calibration, calibrate, weighed
from auditkit_mislabel.channel import Labels, Table, doubted, fit_channel, odds, recalibrated
from auditkit_mislabel.neighbours import COUNTING, opinion

_COUNTING = 1 / 2
"""The weight of the neighbours in how many labels are wrong."""

_CHANNEL = 1 / 3
"""Their weight, beside the outside opinion, in the channel of the ranking."""

_FAR = 2.0
"""By how many times the neighbours' count is taken to differ at most from that of the models."""

_ALONE = 0.5
"""The share of examples without neighbours above which neighbours are not heard."""

_AS_WELL = 0.05
"""How much less often than the outside opinion the neighbours may name the label, to be heard."""

_SURER = 1.15
"""What all odds are multiplied by: opinions that agree are surer together than their mean is."""


@dataclass(frozen=True)
class Judgement:
    """What is claimed of each example.

    Attributes:
        score: [example]; log odds that the label is wrong, from all opinions.
        probability: [example]; that the label is wrong.
        suggested: int64 [example]; the likeliest class other than the label.
        trust: the weight of the trained model's opinion, 0 to 1.
        neighbours: whether the neighbours' opinion was heard.
        calibration: what the planted labels showed.
    """

    score: Table
    probability: Table
    suggested: Labels
    trust: float
    neighbours: bool
    calibration: Calibration


def judge(
    tables: ClassTables,
    *,
    neighbours: Labels | None = None,
    again: ClassTables | None = None,
    neighbours_again: Labels | None = None,
    trusted: Bools | None = None,
) -> Judgement:
    """Judge every label of a pool.

    Args:
        tables: of a holdout, with planted labels or without.
        neighbours: of the same holdout, int64 [repeat, example, neighbour]; None for none.
        again: of a second one, whose replays left out what the first found doubtful; its opinions
            count as much as the first's for the ranking, and not for how many labels are wrong in
            all, since they are as harsh on doubtful labels as the first judgement was.
        neighbours_again: of the second one.
        trusted: bool [example]; labels known to be right.
    """
    labels = tables.targets
    known = np.zeros(len(labels), dtype=bool) if trusted is None else trusted
    outside = tables.outside.astype(np.float64)
    channel = fit_channel(outside, labels, known)
    doubt = np.where(known, 0.0, doubted(channel, outside, labels))
    total = channel.count(outside[~known])
    given = _told(neighbours, outside, labels)
    nearby = None
    if neighbours is not None and given is not None:
        by_neighbours = fit_channel(given, labels, known).count(given[~known])
        total *= float(np.clip(by_neighbours / total, 1 / _FAR, _FAR)) ** _COUNTING
        nearby = opinion(neighbours, labels, 1 - doubt, outside)
        channel = fit_channel((1 - _CHANNEL) * outside + _CHANNEL * nearby, labels, known)
    calibration = calibrate(tables, nearby, channel.transition, doubt, known)
    replays, nearby_again = _mixed(tables, calibration.weight), None
    if again is not None:
        replays = (replays + _mixed(again, calibration.weight)) / 2
        if nearby is not None and neighbours_again is not None:
            nearby_again = opinion(neighbours_again, labels, 1 - doubt, outside)
    trust = _trust(tables, doubt)
    inside = tables.inside.astype(np.float64)
    everything = weighed(replays, nearby, nearby_again, inside=inside, trust=trust)
    final = recalibrated(channel.transition, everything, labels, known)
    posterior = final.log_posterior(everything, labels)
    score = odds(posterior, labels)
    posterior[np.arange(len(labels)), labels] = -np.inf
    return Judgement(
        score=score,
        probability=_shifted(score, total=total, counted=~known),
        suggested=posterior.argmax(axis=1).astype(np.int64),
        trust=trust,
        neighbours=nearby is not None,
        calibration=calibration,
    )


def _told(neighbours: Labels | None, outside: Table, labels: Labels) -> Table | None:
    """What neighbours say by their labels as given; None where they do not know the classes."""
    if neighbours is None or np.all(neighbours < 0, axis=(0, 2)).mean() > _ALONE:
        return None
    given = opinion(neighbours, labels, np.ones(len(labels)), outside, hearing=COUNTING)
    agree = [float((table.argmax(axis=1) == labels).mean()) for table in (given, outside)]
    return given if agree[0] >= agree[1] - _AS_WELL else None


def _shifted(odds: Table, *, total: float, counted: Bools) -> Table:
    """Probabilities of log odds, a little surer and all shifted alike, that add up to a total.

    Args:
        odds: log odds, [example].
        total: of the probabilities of those counted.
        counted: bool [example].
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - slow to import

    total = float(np.clip(total, 1e-6, counted.sum() - 1e-6))
    odds = _SURER * odds
    far = 50.0 + np.abs(odds).max()
    shift = brentq(lambda by: expit(odds[counted] + by).sum() - total, -far, far)
    probability: Table = expit(odds + shift)
    return probability


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
