"""The noisy study on the user's own model: groups, retrained by the subject's recipe."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import Pool, Subject, labelled
from auditkit.errors import TaskError
from auditkit_mirror.continual import Engines, Setting, Tried, try_settings
from auditkit_mirror.draws import stream
from auditkit_mirror.groups import GroupMirror, Groups, group_mirror, planted_groups
from auditkit_mirror.plan import Plan

if TYPE_CHECKING:
    from auditkit import ForwardINF
    from auditkit.progress import Progress

Table = npt.NDArray[np.float64]

MOST_QUERIES = 200
SETTINGS = (
    Setting("auto"),
    Setting("auto", rise=1.0),
    Setting("auto", rise=3.0),
    Setting("auto", steps=4, replay=256),
    Setting("kfac"),
    Setting("none"),
)
"""What is tried on a network, the engine's default first."""

_TIMED = 128


@dataclass(frozen=True)
class NetworkStudy:
    """Both influences of groups, and how well the engine's scores foresee them.

    Attributes:
        mirror: by retraining.
        tried: the engine's settings, judged on the same groups.
        group_size: examples in each group.
        queries: how many there were.
    """

    mirror: GroupMirror
    tried: Sequence[Tried]
    group_size: int
    queries: int


def seconds_per_example(subject: Subject) -> float | str:
    """What one training example costs per epoch of a retraining, by a short trial.

    Where the model cannot be trained anew, the sentence that says why.
    """
    from auditkit.truth import Retraining, retrain  # noqa: PLC0415 - bring torch

    count = min(_TIMED, len(subject.train))
    recipe = replace(subject.recipe, epochs=1)
    if recipe.learning_rate is None and not callable(recipe.optimizer):
        recipe = replace(recipe, learning_rate=1e-3)
    trial = replace(Retraining.of(subject), recipe=recipe, train=subject.train.subset(range(count)))
    try:
        retrain(trial)  # the first one also pays for what is set up once
        start = time.perf_counter()
        retrain(trial)
    except TaskError as error:
        return str(error)
    return (time.perf_counter() - start) / count


def network_study(
    subject: Subject,
    targets: npt.NDArray[np.generic],
    plan: Plan,
    *,
    seed: int,
    folder: Path,
    progress: Progress,
) -> NetworkStudy:
    """Retrain without groups of which more and more labels are wrong, and with the queries.

    Args:
        subject: whose model, recipe and train pool are used.
        targets: of the train pool.
        plan: how many rows, groups and seeds.
        seed: for all that is drawn.
        folder: where finished retrainings are kept.
        progress: is told of them.
    """
    from auditkit.truth import Retraining, retrain  # noqa: PLC0415 - bring torch

    order = stream(seed, "rows of the groups").permutation(len(subject.train))
    rows, rest = np.sort(order[: plan.group_rows]), order[plan.group_rows :]
    queries = subject.queries or subject.train.subset(rest)
    drawn = stream(seed, "queries of the groups").permutation(len(queries))[:MOST_QUERIES]
    queries = queries.subset(np.sort(drawn))
    groups = planted_groups(
        targets[rows], steps=plan.groups, size=max(2, plan.group_rows // 4), seed=seed
    )
    retraining = replace(
        Retraining.of(subject),
        train=labelled(subject.train.subset(rows), groups.targets),
        queries=queries,
        measure="loss",
        seed=seed,
    )
    mirror = group_mirror(retraining, groups, seeds=plan.seeds, folder=folder, progress=progress)
    model = retrain(retraining)
    task = copy.copy(subject.required_task())
    task.model = model
    engines = Engines(task, retraining.train, retraining.recipe, seed=seed)
    tried = try_settings(
        mirror.train_to_test.mean(axis=0),
        lambda setting: _sums(engines.get(setting), queries, groups),
        settings=SETTINGS,
        retrained=mirror.test_to_train.mean(axis=0),
        progress=progress,
    )
    return NetworkStudy(mirror, tried, max(2, plan.group_rows // 4), len(queries))


def _sums(engine: ForwardINF, queries: Pool, groups: Groups) -> Table:
    """The engine's scores for all queries at once, added up over each group, [group]."""
    scores = engine.influence(queries, groups=["queries"] * len(queries)).values[0]
    return np.array([scores[places].sum(dtype=np.float64) for places in groups.members.values()])
