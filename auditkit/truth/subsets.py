"""Retraining on random subsets: the measures that any attribution should be able to predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from auditkit.errors import SettingError
from auditkit.progress import SILENT, Progress
from auditkit.scores import Floats
from auditkit.seeds import stream
from auditkit.truth.measuring import measured, seeds_of
from auditkit.truth.retraining import Leg, Retraining


@dataclass(frozen=True)
class Halves:
    """What the queries measure under models trained on random subsets.

    Attributes:
        members: bool [subset, train]; whether the subset's models trained on the example.
        measures: float32 [subset, query]; the mean over seeds. Lower is better learnt.
        by_seed: float32 [subset, seed, query]; under each model.
        query_ids, train_ids: what the axes stand for.
        measure: name of the measure.
    """

    members: npt.NDArray[np.bool_]
    measures: Floats
    by_seed: Floats
    query_ids: tuple[str, ...]
    train_ids: tuple[str, ...]
    measure: str


def half_subsets(
    retraining: Retraining,
    *,
    count: int = 60,
    seeds: int = 3,
    share: float = 0.5,
    folder: Path | str | None = None,
    progress: Progress = SILENT,
) -> Halves:
    """Train on random subsets of the train pool, and measure the queries under every model.

    Every subset is trained `seeds` times, by the same seeds: what a seed does to all subsets alike
    then cancels where subsets are compared. With a larger `count` or more `seeds`, the subsets and
    retrainings of the smaller call come first, unchanged.

    Args:
        retraining: what is trained, how, and what is measured.
        count: how many subsets.
        seeds: retrainings per subset.
        share: of the train pool in each subset; half, as in TRAK (Park et al. 2023, section 2.3).
        folder: where finished retrainings are kept; a second call goes on from there.
        progress: is told of every retraining.

    Raises:
        SettingError: no queries, a count or seeds below 1, or a share that leaves no example in or
            out.
        StoreError: the folder holds retrainings of something else, or cannot be written or read.
    """
    total = len(retraining.train)
    size = round(share * total)
    if count < 1 or not 0 < size < total:
        raise SettingError(
            f"count is {count} and share is {share:g}: there must be a subset or more, each with "
            f"at least one of the {total} training examples in it and one not."
        )
    subsets = [_subset(retraining, place, size) for place in range(count)]
    legs = [Leg(seed, positions) for positions in subsets for seed in seeds_of(retraining, seeds)]
    found = measured(retraining, legs, folder=folder, progress=progress)
    by_seed = np.stack(found).reshape(count, seeds, -1)
    members = np.zeros((count, total), dtype=bool)
    for row, positions in zip(members, subsets, strict=True):
        row[positions] = True
    return Halves(
        members=members,
        measures=by_seed.mean(axis=1, dtype=np.float64).astype(np.float32),
        by_seed=by_seed.astype(np.float32),
        query_ids=retraining.asked.ids,
        train_ids=retraining.train.ids,
        measure=retraining.measure_name,
    )


def _subset(retraining: Retraining, place: int, size: int) -> npt.NDArray[np.int64]:
    """The positions of one random subset, in order; each has random numbers of its own."""
    drawn = stream(retraining.seed, f"subset {place}").permutation(len(retraining.train))
    return np.sort(drawn[:size])
