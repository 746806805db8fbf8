"""Retraining without chosen examples, one at a time or group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from auditkit.errors import SettingError
from auditkit.pool import Pool, Positions
from auditkit.progress import SILENT, Progress
from auditkit.scores import Floats
from auditkit.truth.measuring import measured, seeds_of
from auditkit.truth.retraining import Leg, Retraining


@dataclass(frozen=True)
class Removals:
    """How the queries' measures change when training examples are left out.

    Attributes:
        values: float32 [query, left_out]; the measure without the examples minus the measure with
            them, averaged over seeds: positive for proponents, as in `auditkit.Scores`.
        by_seed: float32 [seed, query, left_out]; the same for each seed.
        base: float32 [seed, query]; the measure with every example.
        query_ids: what the queries are.
        left_out: ids of the examples, or names of the groups.
        measure: name of the measure.
    """

    values: Floats
    by_seed: Floats
    base: Floats
    query_ids: tuple[str, ...]
    left_out: tuple[str, ...]
    measure: str

    @property
    def standard_errors(self) -> Floats:
        """Of `values` over seeds, [query, left_out]; NaN for a single seed."""
        count = len(self.by_seed)
        if count < 2:
            return np.full_like(self.values, np.nan)
        errors: Floats = self.by_seed.std(axis=0, ddof=1) / np.float32(count**0.5)
        return errors

    @property
    def over_queries(self) -> Floats:
        """The change of the measure's mean over all queries, float32 [left_out]."""
        means: Floats = self.values.mean(axis=0)
        return means


def leave_one_out(
    retraining: Retraining,
    *,
    positions: Sequence[int] | Positions,
    seeds: int = 3,
    folder: Path | str | None = None,
    progress: Progress = SILENT,
) -> Removals:
    """The change of each query's measure when one training example is left out.

    Trainings with and without the example have their fresh weights, order, batches and seeds in
    common, so that most of the noise of training cancels: the example is taken out of its batches.
    Costs one retraining per seed and example, and one more per seed.

    Args:
        retraining: what is trained, how, and what is measured.
        positions: of the training examples to leave out.
        seeds: how many retrainings each is averaged over.
        folder: where finished retrainings are kept; a second call goes on from there.
        progress: is told of every retraining.

    Raises:
        SettingError: no queries, no positions or seeds, or a position that is not in the pool.
        StoreError: the folder holds retrainings of something else, or cannot be written or read.
    """
    places = np.asarray(positions, dtype=np.int64)
    groups = [_checked(place[None], retraining.train, f"position {place}") for place in places]
    return _removals(
        retraining,
        groups,
        [retraining.train.ids[place] for place in places],
        seeds=seeds,
        folder=folder,
        progress=progress,
    )


def group_influence(
    retraining: Retraining,
    *,
    groups: Mapping[str, Sequence[int] | Positions],
    seeds: int = 3,
    folder: Path | str | None = None,
    progress: Progress = SILENT,
) -> Removals:
    """The change of each query's measure when a whole group of training examples is left out.

    As `leave_one_out`; the learning rates stay those of training on everything, and so do the steps
    but for batches of which none is left, so that a group's influence is hardly that of a shorter
    training where batches hold many more than one example.

    Args:
        retraining: what is trained, how, and what is measured.
        groups: positions of the training examples of each group, by its name.
        seeds: how many retrainings each is averaged over.
        folder: where finished retrainings are kept; a second call goes on from there.
        progress: is told of every retraining.

    Raises:
        SettingError: no queries, groups or seeds; a group that is empty, is the whole pool, or has
            a position twice or outside the pool.
        StoreError: the folder holds retrainings of something else, or cannot be written or read.
    """
    checked = [
        _checked(np.asarray(places, dtype=np.int64), retraining.train, f"group {name!r}")
        for name, places in groups.items()
    ]
    return _removals(
        retraining, checked, list(groups), seeds=seeds, folder=folder, progress=progress
    )


def _removals(
    retraining: Retraining,
    groups: Sequence[Positions],
    names: Sequence[str],
    *,
    seeds: int,
    folder: Path | str | None,
    progress: Progress,
) -> Removals:
    if not groups:
        raise SettingError("There is nothing to leave out: give a position or a group.")
    legs = [
        Leg(seed, left_out=group)
        for seed in seeds_of(retraining, seeds)
        for group in (None, *groups)
    ]
    found = measured(retraining, legs, folder=folder, progress=progress)
    table = np.stack(found).reshape(seeds, 1 + len(groups), -1).astype(np.float64)
    changes: npt.NDArray[np.float64] = (table[:, 1:] - table[:, :1]).transpose(0, 2, 1)
    return Removals(
        values=changes.mean(axis=0).astype(np.float32),
        by_seed=changes.astype(np.float32),
        base=table[:, 0].astype(np.float32),
        query_ids=retraining.asked.ids,
        left_out=tuple(names),
        measure=retraining.measure_name,
    )


def _checked(places: Positions, train: Pool, name: str) -> Positions:
    """The positions in order, if they are some of the pool's, each once."""
    inside = (places >= 0) & (places < len(train))
    if not inside.all():
        raise SettingError(
            f"The {name} leaves out example {places[~inside][0]}: positions in this train pool are "
            f"0 to {len(train) - 1}."
        )
    ordered = np.unique(places)
    if not 0 < len(ordered) == len(places) < len(train):
        raise SettingError(
            f"The {name} leaves out {len(places)} examples, {len(ordered)} different ones, of "
            f"{len(train)}: expected one or more, each once, and not all."
        )
    return ordered
