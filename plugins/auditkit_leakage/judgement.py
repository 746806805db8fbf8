"""From distances to probabilities: how likely is each evaluation example to have leaked?

Two densities are measured in the run. Training examples, each against the rest of the train pool,
show how near the nearest neighbour of an example is that has not leaked (`null.py`). Altered copies
of training examples show how near it is for one that has. The ratio r of the two densities falls
with the distance d: both are smoothed, and their ratio is made monotone by isotonic regression. The
evaluation set is a mixture of the two, with a share s leaked, found by expectation maximization,
and by Bayes' rule

    P(leaked | d) = s r(d) / (s r(d) + 1 - s)

Identical content is beyond such a ratio and is judged apart (`chance.py`). Where there are too few
samples to measure the densities, the probability of all else is not known: NaN, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit_leakage.null import null_weights

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_STEPS = 500
_BINS = 400
_NEGLIGIBLE = 0.01
_TINY = 1e-12
_PRIOR = 0.1
"""The share that one imagined example more adds to those seen: it matters where there are few."""


@dataclass(frozen=True)
class Samples:
    """Distances to the nearest training example; identical content is in none of them.

    Attributes:
        evaluation: float64 [example]; of what is judged.
        null: float64 [sample]; of training examples to the rest of the train pool.
        planted: float64 [copy]; of altered copies of training examples.
    """

    evaluation: Floats
    null: Floats
    planted: Floats


@dataclass(frozen=True)
class Ratio:
    """How many times likelier a distance is for a copy than for an example that has not leaked.

    Attributes:
        offset: what is added to distances before their logarithm is taken.
        points: float64 [point]; such logarithms, rising.
        logs: float64 [point]; the logarithm of the ratio there, falling.
    """

    offset: float
    points: Floats
    logs: Floats

    def at(self, distance: Floats) -> Floats:
        """The ratio at each distance."""
        near = np.log(distance + self.offset)
        found: Floats = np.exp(np.interp(near, self.points, self.logs))
        return found


@dataclass(frozen=True)
class Mixture:
    """The two densities, as their ratio, and the share of the leaked.

    Attributes:
        ratio: of the densities; None where there was too little to measure one of them on.
        share: of evaluation examples without identical content, that have leaked; NaN without a
            ratio.
    """

    ratio: Ratio | None
    share: float

    def probability(self, distance: Floats) -> Floats:
        """The probability that what lies at each distance has leaked; NaN where it is not known."""
        if self.ratio is None:
            return np.full(len(distance), np.nan)
        weight = self.share * self.ratio.at(distance)
        found: Floats = weight / (weight + 1 - self.share)
        return found


@dataclass(frozen=True)
class Judgement:
    """What is claimed.

    Attributes:
        mixture: what probabilities follow from.
        probability: float64 [example]; that the example has leaked; NaN where it is not known.
        discovery: float64 [example]; the false-discovery rate of a list that ends with it: the mean
            of 1 - probability over all that rank at least as high; NaN where that is not known.
        count: the expected number of leaked examples among those of known probability.
        low, high: the ends of its 95 % interval; `high` is NaN where a probability is not known.
    """

    mixture: Mixture
    probability: Floats
    discovery: Floats
    count: float
    low: float
    high: float

    @property
    def unknown(self) -> bool:
        """Whether the probability of some example is not known."""
        return bool(np.isnan(self.probability).any())


def judge(
    samples: Samples, *, identical: Bools, certain: Floats, draws: int = 200, seed: int = 0
) -> Judgement:
    """Judge every evaluation example.

    Args:
        samples: distances; those of `evaluation` are of the examples that are not identical.
        identical: bool [example]; which have a training example of the same content.
        certain: float64 [identical]; the probability that each of those has leaked.
        draws: how often all samples are drawn again, for the interval.
        seed: for these draws.
    """
    probability, mixture = np.empty(len(identical)), fitted(samples)
    probability[identical] = certain
    probability[~identical] = mixture.probability(samples.evaluation)
    random = np.random.default_rng([seed, 0x1EAC])
    counts = np.array([_count_again(samples, certain, random) for _ in range(draws)])
    expected = float(np.nansum(probability))
    low, high = np.quantile(counts, [0.025, 0.975]) if draws else (expected, expected)
    highest = min(max(float(high), expected), float(len(identical)))
    return Judgement(
        mixture,
        probability,
        false_discovery(probability),
        expected,
        min(float(low), expected),
        np.nan if np.isnan(probability).any() else highest,
    )


def fitted(samples: Samples) -> Mixture:
    """The mixture that the distances of the evaluation examples are."""
    if len(samples.null) < _FEWEST or not len(samples.planted):
        return Mixture(None, np.nan)
    ratio = fitted_ratio(samples.null, null_weights(samples.null), samples.planted)
    return Mixture(ratio, leaked_share(ratio.at(samples.evaluation)))


def fitted_ratio(null: Floats, weights: Floats, planted: Floats) -> Ratio:
    """The falling ratio of the density of planted copies to that of the null.

    Both densities are smoothed on the logarithm of the distance plus a hundredth of the null's
    median: below that, nearer is no different. One imagined example of the other sample is added to
    each, since no finite sample says "never".

    Args:
        null: float64 [sample].
        weights: float64 [sample]; how far each of them counts.
        planted: float64 [copy].
    """
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - heavy, as in `null.py`

    offset = max(_NEGLIGIBLE * float(np.median(null)), _TINY)
    samples = [np.log(distance + offset) for distance in (null, planted)]
    high = max(float(sample.max()) for sample in samples) + 1.0
    edges = np.linspace(np.log(offset), high, _BINS + 1)
    strangers = _density(samples[0], weights, edges)
    copies = _density(samples[1], np.ones(len(planted)), edges)
    ours, theirs = float(weights.sum()), float(len(planted))
    mixed = (ours * strangers + copies) / (ours + 1), (theirs * copies + strangers) / (theirs + 1)
    logs = np.log(mixed[1] + _TINY) - np.log(mixed[0] + _TINY)
    points = (edges[1:] + edges[:-1]) / 2
    falling = IsotonicRegression(increasing=False).fit_transform(
        points, logs, sample_weight=strangers + copies + _TINY
    )
    # A ratio of densities has a mean of 1 over the null; one that stays above it would let every
    # stranger count as a leak.
    found = Ratio(offset, points, falling)
    mean = float((weights * found.at(null)).sum() / max(ours, _TINY))
    return Ratio(offset, points, falling - np.log(max(1.0, mean)))


def _density(values: Floats, weights: Floats, edges: Floats) -> Floats:
    """The density in each bin, smoothed by a Gaussian of Silverman's width (1986, section 3.4)."""
    from scipy.ndimage import gaussian_filter1d  # noqa: PLC0415 - heavy, as in `null.py`

    counts, _ = np.histogram(values, edges, weights=weights)
    size, total = edges[1] - edges[0], max(float(weights.sum()), _TINY)
    quartiles = np.quantile(values, [0.25, 0.75])
    spread = min(float(values.std()), float(quartiles[1] - quartiles[0]) / 1.34) or float(
        values.std()
    )
    width = max(0.9 * spread * total**-0.2, size)
    smooth: Floats = gaussian_filter1d(counts / (total * size), width / size, mode="reflect")
    return smooth


_FEWEST = 100
"""Fewer training examples than this say nothing of how near the nearest of strangers lies."""

_GAIN = 2.0
"""By how much leaks must raise the log likelihood of the distances to be believed in."""


def leaked_share(ratio: Floats) -> float:
    """The share of leaked examples that makes their density ratios likeliest."""
    share = 0.5
    for _ in range(_STEPS):
        found = share * ratio / (share * ratio + 1 - share)
        updated = float((found.sum() + _PRIOR) / (len(ratio) + 1))
        if abs(updated - share) < 1e-9:
            break
        share = updated
    gain = float(np.log(share * ratio + 1 - share).sum())
    return share if gain > _GAIN else _PRIOR / (len(ratio) + 1)


def false_discovery(probability: Floats) -> Floats:
    """The mean of 1 - probability over all that rank at least as high, [example].

    NaN where the probability is, which ranks last.
    """
    order = np.argsort(-probability, kind="stable")
    rate = np.cumsum(1 - probability[order]) / np.arange(1, len(order) + 1)
    _, inverse = np.unique(-probability, return_inverse=True)
    ends = np.cumsum(np.bincount(inverse)) - 1
    found: Floats = rate[ends][inverse]
    return found


def _count_again(samples: Samples, certain: Floats, random: np.random.Generator) -> float:
    """The number of leaked examples, from samples drawn again and claims drawn as true or not.

    How many are identical is known, and not drawn again.
    """

    def again(values: Floats) -> Floats:
        return values[random.integers(0, len(values), len(values))] if len(values) else values

    drawn = Samples(again(samples.evaluation), again(samples.null), again(samples.planted))
    near = fitted(drawn).probability(drawn.evaluation)
    claims = np.concatenate([near, certain])
    return float((random.random(len(claims)) < claims).sum())
