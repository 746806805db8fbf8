"""Labels as what came out of a noisy channel: the estimate behind every probability.

An example of class k is labelled g with probability T[k, g]. What the replayed models say of an
example, p(k | x), and T together give the probability that its label is wrong (Bayes' rule):

    P(true class k | x, labelled g)  is proportional to  p(k | x) T[k, g]

T cannot be had from the likelihood alone: a model that shares the annotators' confusions explains
them away as its own doubt. It is first read off **anchors**, the examples whose class the models
are surest of (Patrini et al. 2017, section 4; compare Northcutt et al. 2021), and shrunk as far as
the counts allow: the error rates of the classes toward their mean, and the pattern of errors toward
uniform, each by as much as maximizes the marginal likelihood (empirical Bayes). So typing errors
come out uniform and look-alike classes as what they are.

Anchors alone take the models' own mistakes for wrong labels. So T is counted again, a few times, on
the surer half of the examples, each in the shares its posterior gives it: expectation maximization
where the models can tell the classes apart. The other half stays out: there, small faults of the
probabilities weigh most, and likelihood explains wrong labels away. The shares and the number of
steps were chosen on Fashion-MNIST.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, log_softmax, logsumexp

Table = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

ANCHORS = 0.2
"""The share of the examples predicted as a class that serve as its anchors, and at least ten."""

SURE = 0.5
"""The share of them that T is counted on in every step after."""

REFINEMENTS = 10
"""The most steps of expectation maximization from the anchors."""

_SETTLED = 1e-3
"""The steps end where no entry of T changes by more."""

_STRENGTHS = np.exp(np.linspace(-1.0, 7.0, 33))


@dataclass(frozen=True)
class Channel:
    """How labels come about, and how far the models' probabilities are to be believed.

    Attributes:
        transition: [class, class]; T[k, g], the probability that class k is labelled g.
        scale: the inverse temperature of the models' log probabilities.
        bias: [class]; added to the scaled log probabilities.
    """

    transition: Table
    scale: float
    bias: Table

    def log_posterior(self, logs: Table, labels: Labels) -> Table:
        """Log P(true class | x, label), [example, class].

        Args:
            logs: log probabilities of the classes, [example, class].
            labels: int64 [example], as given.
        """
        joint = log_softmax(self.scale * logs + self.bias, axis=1)
        joint = joint + np.log(self.transition.T[labels])
        result: Table = joint - logsumexp(joint, axis=1, keepdims=True)
        return result

    def count(self, logs: Table) -> float:
        """How many labels of these examples are expected to be wrong, whatever their labels.

        Args:
            logs: log probabilities of the classes, [example, class].
        """
        classes = np.exp(log_softmax(self.scale * logs + self.bias, axis=1)).sum(axis=0)
        return float(classes @ (1 - np.diag(self.transition)))


def fit_channel(logs: Table, labels: Labels, trusted: npt.NDArray[np.bool_]) -> Channel:
    """The channel of a pool: T from its anchors, refined; scale and bias by maximum likelihood.

    Args:
        logs: log probabilities of the classes, [example, class].
        labels: int64 [example].
        trusted: bool [example]; labels known to be right, which came through no channel.
    """
    doubtful, given = logs[~trusted], labels[~trusted]
    channel = recalibrated(shrunk(anchor_counts(doubtful, given)), logs, labels, trusted)
    sure = surest(doubtful, share=SURE)
    for _ in range(REFINEMENTS):
        posterior = np.exp(channel.log_posterior(doubtful[sure], given[sure]))
        counts = np.zeros_like(channel.transition)
        np.add.at(counts.T, given[sure], posterior)
        before, transition = channel, shrunk(counts)
        channel = recalibrated(transition, logs, labels, trusted, start=before)
        if np.abs(transition - before.transition).max() < _SETTLED:
            break
    return channel


def recalibrated(
    transition: Table,
    logs: Table,
    labels: Labels,
    trusted: npt.NDArray[np.bool_],
    *,
    start: Channel | None = None,
) -> Channel:
    """The channel of a given T whose scale and bias make the labels likeliest.

    Args:
        transition: [class, class].
        logs: log probabilities of the classes, [example, class].
        labels: int64 [example].
        trusted: bool [example]; labels known to be right.
        start: a channel close by, where the search begins.
    """
    begin = np.zeros(len(transition) + 1)
    if start is not None:
        begin = np.concatenate([[np.log(start.scale)], start.bias])
    return Channel(transition, *_calibrated(logs, labels, transition, trusted, begin))


def doubted(channel: Channel, logs: Table, labels: Labels) -> Table:
    """The probability that each label is wrong, [example]."""
    right = np.exp(own(channel.log_posterior(logs, labels), labels))
    doubt: Table = np.clip(1 - right, 0.0, 1.0)
    return doubt


def odds(posterior: Table, labels: Labels) -> Table:
    """Log odds that the label is wrong, from log posteriors; the sum over the other classes."""
    others = posterior.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    wrong: Table = np.logaddexp.reduce(others, axis=1)
    return wrong - own(posterior, labels)


def own(table: Table, labels: Labels) -> Table:
    """Each example's entry for its label, [example]."""
    entries: Table = table[np.arange(len(labels)), labels]
    return entries


def surest(logs: Table, *, share: float) -> Labels:
    """Where the models are surest: a share of the examples predicted as each class, at least ten.

    Args:
        logs: log probabilities of the classes, [example, class].
        share: of each predicted class.
    """
    predicted = logs.argmax(axis=1)
    first_two = np.partition(logs, -2, axis=1)[:, -2:]
    certainty = first_two[:, 1] - first_two[:, 0]
    chosen = []
    for k in range(logs.shape[1]):
        members = np.flatnonzero(predicted == k)
        ordered = members[np.argsort(-certainty[members], kind="stable")]
        chosen.append(ordered[: max(10, round(share * len(members)))])
    return np.concatenate(chosen)


def anchor_counts(logs: Table, labels: Labels) -> Table:
    """How often the anchors of each class carry each label, [class, class]."""
    anchors = surest(logs, share=ANCHORS)
    counts = np.zeros((logs.shape[1], logs.shape[1]))
    np.add.at(counts, (logs[anchors].argmax(axis=1), labels[anchors]), 1)
    return counts


def shrunk(counts: Table) -> Table:
    """T from the anchors' labels: error rates and patterns shrunk by empirical Bayes.

    Args:
        counts: [class, class]; how often anchors of a class carry each label.
    """
    classes = len(counts)
    off = ~np.eye(classes, dtype=bool)
    errors = counts[off].reshape(classes, classes - 1)
    total, wrong = counts.sum(axis=1), errors.sum(axis=1)
    # One error more and one example more: no rate is exactly zero.
    mean = (wrong.sum() + 1) / (total.sum() + classes)
    pair = np.stack([wrong, total - wrong], axis=1)
    strength = _best_strength(pair, np.array([mean, 1 - mean]))
    rate = (wrong + strength * mean) / (total + strength)
    uniform = np.full(classes - 1, 1 / (classes - 1))
    strength = _best_strength(errors, uniform)
    pattern = (errors + strength * uniform) / (wrong + strength)[:, None]
    transition = np.diag(1 - rate)
    transition[off] = (pattern * rate[:, None]).ravel()
    return transition


def _best_strength(counts: Table, mean: Table) -> float:
    """How many examples the prior is worth: the maximum of the Dirichlet-multinomial likelihood."""
    totals = counts.sum(axis=1)

    def log_likelihood(strength: float) -> float:
        prior = strength * mean
        rows = gammaln(strength) - gammaln(totals + strength)
        cells = gammaln(counts + prior) - gammaln(prior)
        return float(rows.sum() + cells.sum())

    return float(max(_STRENGTHS, key=log_likelihood))


def _calibrated(
    logs: Table,
    labels: Labels,
    transition: Table,
    trusted: npt.NDArray[np.bool_],
    begin: Table,
) -> tuple[float, Table]:
    """Scale and bias that make the labels likeliest, given T; a normal prior holds the bias."""
    from scipy.optimize import minimize  # noqa: PLC0415 - slow to import

    count, classes = logs.shape
    arrived = transition.T[labels]  # [example, class]: how each class would come by the label
    arrived[trusted] = np.eye(classes)[labels[trusted]]

    def loss(parameters: Table) -> tuple[float, Table]:
        scale, bias = np.exp(parameters[0]), parameters[1:]
        prior = np.exp(log_softmax(scale * logs + bias, axis=1))
        joint = prior * arrived
        likelihood = np.maximum(joint.sum(axis=1), 1e-300)
        slope = joint / likelihood[:, None] - prior
        value = -np.log(likelihood).sum() + 0.5 * (bias**2).sum()
        gradient = np.concatenate([[-(slope * logs).sum() * scale], bias - slope.sum(axis=0)])
        return float(value / count), gradient / count

    best = minimize(loss, begin, jac=True, method="L-BFGS-B").x
    return float(np.exp(best[0])), best[1:]
