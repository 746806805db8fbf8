"""Stages 1 and 2 on the evaluation set, and the two samples that say what their distances mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import Pool, Progress, TextPreview
from auditkit_leakage.chance import compressed_bits, is_poor, more_than_chance, row_bits
from auditkit_leakage.content import Content, check_comparable, content_of, normalized
from auditkit_leakage.identical import canonical, digests
from auditkit_leakage.judgement import Judgement, Samples, judge
from auditkit_leakage.search import Found, find, planted

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

IDENTICAL = "identical"

WHOLE = 20_000
"""Up to so many training examples, each is compared with all others; beyond, a sample is."""

_COMMON = 3
_SAMPLE = 2_000
_PLANTED = 400


@dataclass(frozen=True)
class Best:
    """The nearest training example of each of some examples.

    Attributes:
        pair: int64 [example]; where its pair stands among those found; -1 where none was.
        train: int64 [example]; the training example, -1 where none was.
        distance: float64 [example]; infinite where none was.
        identical: bool [example].
    """

    pair: Positions
    train: Positions
    distance: Floats
    identical: Bools


@dataclass(frozen=True)
class Evidence:
    """What the search found, and what its distances mean.

    Attributes:
        found: pairs of evaluation and training examples.
        best: the nearest training example of each evaluation example.
        within: pairs of training examples; None where only a sample was compared.
        null: float64 [sample]; distances of training examples to the rest of the train pool.
        planted: float64 [copy]; distances of altered copies to the originals they were matched to.
        recovery: per kind of alteration: copies planted, the share found again.
        poor: bool [example]; identical content that may coincide by chance.
        beyond_chance: the probability that such a coincidence is a leak.
        codes: int64 [train]; equal for training examples of the same content.
    """

    found: Found
    best: Best
    within: Found | None
    null: Floats
    planted: Floats
    recovery: pl.DataFrame
    poor: Bools
    beyond_chance: float
    codes: Positions

    def judged(self, *, seed: int) -> Judgement:
        """The probability of each evaluation example, and how many have leaked."""
        certain = np.where(self.poor, self.beyond_chance, 1.0)[self.best.identical]
        near = self.best.distance[~self.best.identical]
        samples = Samples(near, self.null, self.planted)
        return judge(samples, identical=self.best.identical, certain=certain, seed=seed)


def contents(train: Pool, queries: Pool | None) -> tuple[Content, Content | None]:
    """What the pools hold; None for an evaluation set that is missing or is the train pool itself.

    Raises:
        PoolError: examples that cannot be compared.
        UsageError: two pools that cannot share examples.
    """
    ours = _content(train)
    if queries is None or queries is train:
        return ours, None
    theirs = _content(queries, like=train)
    check_comparable(ours, theirs)
    same = len(ours) == len(theirs) and all(
        one == other for one, other in zip(digests(ours), digests(theirs), strict=True)
    )
    return ours, None if same else theirs


def _content(pool: Pool, *, like: Pool | None = None) -> Content:
    """The content of a pool, of the columns that its examples consist of."""
    if not pool.contents:
        return content_of(pool, label=pool.label, like=like)
    text = isinstance(pool.preview(0), TextPreview)
    kept = Pool(
        pool.dataset,
        ids=pool.ids,
        metadata=pool.metadata.select(pool.contents),
        preview=pool.preview,
    )
    return content_of(kept, text=pool.contents[0] if text and len(pool.contents) == 1 else None)


def gather(
    train: Content, evaluation: Content | None, *, seed: int, progress: Progress
) -> Evidence:
    """Search, and measure what its distances mean.

    Args:
        train: the training examples.
        evaluation: the evaluation examples; None for those of the train pool itself.
        seed: for what is sampled and planted.
        progress: is told of the searches.
    """
    random = np.random.default_rng([seed, 0x1EA4])
    within, null = _null(train, random, progress, whole=evaluation is None)
    if evaluation is None:
        if within is None:
            raise RuntimeError("A pool that is compared with itself is compared whole.")
        found, judged = within, train
    else:
        found, judged = find(train, evaluation, progress=progress), evaluation
    best = best_of(found, len(judged))
    sums = list(digests(train))
    distances, recovery = _plant(train, sums, random, seed=seed, progress=progress)
    codes = _codes(sums)
    poor, poor_train = _poor(train, judged, sums, best.identical)
    return Evidence(
        found=found,
        best=best,
        within=within,
        null=null,
        planted=distances,
        recovery=recovery,
        poor=poor,
        # Within one pool, what coincides by chance and what was copied cannot be told apart.
        beyond_chance=1.0
        if evaluation is None
        else more_than_chance(
            train_poor=poor_train,
            train_twin=np.bincount(codes)[codes] > 1,
            poor=poor,
            identical=best.identical,
        ),
        codes=codes,
    )


def best_of(found: Found, count: int) -> Best:
    """The nearest pair of each example: identical ones first, then by distance."""
    same = np.array([kind == IDENTICAL for kind in found.kind], dtype=bool)
    order = np.lexsort((found.train, found.distance, ~same, found.evaluation))
    examples, first = np.unique(found.evaluation[order], return_index=True)
    pair = np.full(count, -1, dtype=np.int64)
    pair[examples] = order[first]
    there = pair >= 0
    train, distance = np.full(count, -1, dtype=np.int64), np.full(count, np.inf)
    identical = np.zeros(count, dtype=bool)
    train[there], distance[there] = found.train[pair[there]], found.distance[pair[there]]
    identical[there] = same[pair[there]]
    return Best(pair, train, distance, identical)


def _null(
    train: Content, random: np.random.Generator, progress: Progress, *, whole: bool
) -> tuple[Found | None, Floats]:
    """Training examples against the rest of the pool: pairs if all are, and best distances."""
    if whole or len(train) <= WHOLE:
        within = find(train, train, same_pool=True, progress=progress)
        best = best_of(within, len(train))
        return within, _finite(best.distance[~best.identical])
    order = random.permutation(len(train))
    asked, rest = np.sort(order[:_SAMPLE]), np.sort(order[_SAMPLE:])
    best = best_of(find(train.take(rest), train.take(asked), progress=progress), _SAMPLE)
    return None, _finite(best.distance[~best.identical])


def _plant(
    train: Content,
    sums: Sequence[bytes],
    random: np.random.Generator,
    *,
    seed: int,
    progress: Progress,
) -> tuple[Floats, pl.DataFrame]:
    """Distances of altered copies to their originals, and how many of each kind are found.

    Copies that were matched to another example say nothing of how near a copy lies.
    """
    positions = np.sort(random.permutation(len(train))[:_PLANTED])
    copies, kinds = planted(train, positions, seed=seed)
    best = best_of(find(train, copies, progress=progress), len(copies))
    right = np.array(
        [
            place >= 0 and sums[place] == sums[origin]
            for place, origin in zip(best.train, positions, strict=True)
        ]
    )
    recovery = (
        pl.DataFrame({"kind": kinds, "found": right})
        .group_by("kind", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("planted"), pl.col("found").mean())
    )
    return _finite(best.distance[right & ~best.identical]), recovery


def _finite(distance: Floats) -> Floats:
    kept: Floats = distance[np.isfinite(distance)].astype(np.float64)
    return kept


def _codes(sums: Sequence[bytes]) -> Positions:
    """A number for each content, [train]."""
    codes: Positions = pl.Series(sums, dtype=pl.Binary()).rank("dense").to_numpy().astype(np.int64)
    return codes


def _poor(
    train: Content, evaluation: Content, sums: Sequence[bytes], identical: Bools
) -> tuple[Bools, Bools]:
    """Which content may coincide by chance: of evaluation examples and of training examples.

    Where nothing is identical nothing is asked, since nothing follows.
    """
    if not identical.any():
        return np.zeros(len(evaluation), dtype=bool), np.zeros(len(train), dtype=bool)
    times = Counter(sums)
    asked = sums if evaluation is train else list(digests(evaluation))
    ours, theirs = (
        is_poor(
            _recurring(_bits(content, train), own, times),
            train=len(train),
            evaluation=len(evaluation),
        )
        for content, own in ((train, sums), (evaluation, asked))
    )
    return theirs, ours


def _recurring(bits: Floats, sums: Sequence[bytes], times: Counter[bytes]) -> Floats:
    """At most as many bits as say how often each content recurs in the train pool.

    What stands there three times or more is common, whatever its length; a single duplicate
    excuses nothing.
    """
    known = np.array([times[own] for own in sums])
    rarity = np.log2(times.total() / np.maximum(known, 1))
    return np.where(known >= _COMMON, np.minimum(bits, rarity), bits)


def _bits(content: Content, train: Content) -> Floats:
    """How much information each content holds, in bits."""
    if content.rows is not None:
        return row_bits(canonical(content.rows), canonical(train.frame))
    if content.images is not None:
        return compressed_bits([image.tobytes() for image in content.images])
    return compressed_bits(
        [normalized(text).encode("utf-8", "surrogatepass") for text in content.strings]
    )
