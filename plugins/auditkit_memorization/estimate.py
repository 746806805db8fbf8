"""Memorization of every example, from replays and from a few trainings on random halves.

Feldman and Zhang (2020, section 2) define the memorization of a training example as the probability
that a model trained with it predicts its label, minus the probability that one trained without it
does. Counting that takes hundreds of trainings. Here two sources are put together:

- **replays**: `holdout` says what models say of each example with and without it, in detail and
  cheaply, but of models that begin from the trained one and are not trained to the end;
- **halves**: a few trainings from scratch on random halves, whose predictions are right or wrong as
  the definition counts them, but few.

Two logistic regressions learn from the halves how often a prediction is right, with and without
the example, given what the replays say of it. What the halves say of the example itself then moves
each estimate, as far as examples that the replays cannot tell apart are found to differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax, logit

from auditkit import ClassTables

Values = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_FAR = 12.0
"""Log odds beyond this are all the same to an estimate."""

_USUAL = (0.2, 20.0)
"""What is taken for the correlation of two models' results on one example before any is seen, and
the weight of that, in expected variance of such pairs."""

_CONCENTRATIONS = (1.0, 30.0)
"""How far examples that the replays cannot tell apart may differ: between a lot and hardly."""

_QUANTILES = 16


@dataclass(frozen=True)
class Halves:
    """What models trained from scratch on random halves predict.

    Attributes:
        members: bool [model, example]; whether the model trained on the example.
        right: bool [model, example]; whether it predicts the example's label.
    """

    members: Bools
    right: Bools


@dataclass(frozen=True)
class Estimate:
    """How likely a right prediction is, [example] each.

    Attributes:
        with_it: by models that trained on the example.
        without: by models that did not.
        probability: that memorization is above the threshold; None without halves.
    """

    with_it: Values
    without: Values
    probability: Values | None = None

    @property
    def memorization(self) -> Values:
        """Feldman and Zhang's memorization, from -1 to 1."""
        return self.with_it - self.without


@dataclass(frozen=True)
class Opinions:
    """Log odds of each example's label, float64 [example] each, means over repeats.

    Attributes:
        inside: under the trained model.
        replayed: under models while they trained on it.
        outside: under models that did not train on it.
        likely: the log odds of its mean probability under these.
    """

    inside: Values
    replayed: Values
    outside: Values
    likely: Values

    @property
    def features(self) -> Values:
        """All four, [example, 4]."""
        return np.stack([self.likely, self.outside, self.replayed, self.inside], axis=1)


def opinions(tables: Sequence[ClassTables]) -> Opinions:
    """What the models of several holdouts of one pool say of the labels.

    Args:
        tables: of a holdout each, with folds and fresh weights of its own.
    """
    labels = tables[0].targets
    outside = np.stack([_log_odds(table.outside, labels) for table in tables])
    replayed = np.stack([_log_odds(table.replayed, labels) for table in tables])
    return Opinions(
        inside=_near(_log_odds(tables[0].inside, labels)),
        replayed=_near(replayed.mean(axis=0)),
        outside=_near(outside.mean(axis=0)),
        likely=_near(logit(expit(outside).mean(axis=0))),
    )


def estimate(said: Opinions, halves: Halves | None, *, threshold: float) -> Estimate:
    """The estimate; without halves the replays' own probabilities, which are not calibrated.

    Args:
        said: the replays' opinions.
        halves: trainings on random halves; None for none.
        threshold: of `Estimate.probability`.
    """
    if halves is None or not _both(halves):
        return Estimate(expit(said.inside), expit(said.likely))
    with_it = _posterior(said.features, halves.members, halves.right)
    without = _posterior(said.features, ~halves.members, halves.right)
    return Estimate(
        with_it=with_it.mean,
        without=without.mean,
        probability=_above(with_it, without, threshold),
    )


def reliability(first: Values, second: Values) -> float:
    """How well the mean of two estimates would rank again: their correlation, stepped up.

    Spearman's rank correlation of two halves of the repeats, and Spearman and Brown's formula for
    a measurement twice as long; NaN where one of them does not vary.
    """
    from scipy.stats import spearmanr  # noqa: PLC0415 - slow to import

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    correlation = max(float(spearmanr(first, second)[0]), 0.0)
    return 2 * correlation / (1 + correlation)


@dataclass(frozen=True)
class _Beta:
    """What is known of each example's probability: a beta distribution, by its two counts."""

    right: Values
    wrong: Values

    @property
    def mean(self) -> Values:
        return self.right / (self.right + self.wrong)


def _posterior(features: Values, seen: Bools, right: Bools) -> _Beta:
    """Each example's probability of being predicted rightly by models that it was `seen` by."""
    prior = _regressed(features, seen, right)
    concentration = _concentration(prior, seen, right)
    return _Beta(
        right=prior * concentration + (seen & right).sum(axis=0),
        wrong=(1 - prior) * concentration + (seen & ~right).sum(axis=0),
    )


def _regressed(features: Values, seen: Bools, right: Bools) -> Values:
    """How often predictions are right by what the replays say, [example]."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

    observed = right[seen]
    share = (observed.sum() + 0.5) / (len(observed) + 1)
    if observed.all() or not observed.any():
        return np.full(len(features), share)
    scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    rows = np.broadcast_to(np.arange(len(features)), seen.shape)[seen]
    model = LogisticRegression(C=10.0, max_iter=1_000).fit(scaled[rows], observed)
    found: Values = model.predict_proba(scaled)[:, 1]
    return np.clip(found, 1e-3, 1 - 1e-3)


def _concentration(prior: Values, seen: Bools, right: Bools) -> float:
    """The weight of the prior in observations: high where alike examples behave alike.

    By moments: the correlation of two models' results on one example, beyond the prior, is
    1 / (1 + concentration) for a beta distribution around it. Few pairs are drawn to the usual.
    """
    together, expected = _USUAL[0] * _USUAL[1], _USUAL[1]
    for first in range(len(seen)):
        for second in range(first + 1, len(seen)):
            both = seen[first] & seen[second]
            off = (right[first][both] - prior[both]) * (right[second][both] - prior[both])
            together += float(off.sum())
            expected += float((prior[both] * (1 - prior[both])).sum())
    correlation = max(together / expected, 1 / (1 + _CONCENTRATIONS[1]))
    return float(np.clip(1 / correlation - 1, *_CONCENTRATIONS))


def _above(with_it: _Beta, without: _Beta, threshold: float) -> Values:
    """The probability that the one exceeds the other by the threshold, [example]."""
    from scipy.stats import beta  # noqa: PLC0415 - slow to import

    total = np.zeros(len(with_it.right))
    for place in range(_QUANTILES):
        level = beta.ppf((place + 0.5) / _QUANTILES, with_it.right, with_it.wrong)
        total += beta.cdf(level - threshold, without.right, without.wrong)
    return total / _QUANTILES


def _both(halves: Halves) -> bool:
    """Whether there is a model with and a model without some example."""
    return bool(halves.members.any() and not halves.members.all())


def _log_odds(logs: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Values:
    """Log odds of the label, [example], from mean log probabilities [example, class]."""
    shares: Values = log_softmax(logs.astype(np.float64), axis=1)
    rows = np.arange(len(labels))
    own = shares[rows, labels].copy()
    shares[rows, labels] = -np.inf
    odds: Values = own - np.logaddexp.reduce(shares, axis=1)
    return odds


def _near(odds: Values) -> Values:
    return np.clip(odds, -_FAR, _FAR)
