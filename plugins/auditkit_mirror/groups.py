"""The noisy setting: groups of training examples, retrained networks, several seeds.

As in the authors' notebooks (reds-lab/Forward-INF): a share of the training labels is made wrong,
and groups of one size are drawn of which a growing share is of the wrong ones. Train-to-test
influence leaves a group out and looks at the queries; test-to-train influence puts all queries in
and looks at the group. Both go through `auditkit.truth`, whose trainings with and without some
examples share their weights, order and batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit.errors import SettingError
from auditkit_mirror.draws import stream

if TYPE_CHECKING:
    from auditkit.progress import Progress
    from auditkit.truth import Retraining

Table = npt.NDArray[np.float64]
Targets: TypeAlias = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Groups:
    """Groups of training examples with a known share of wrong labels.

    Attributes:
        members: int64 positions in the train pool, by the group's name.
        ratios: float64 [group]; the share of each group's labels that are wrong.
        targets: [train]; the labels to train on, with the wrong ones among them.
        wrong: bool [train]; which labels were made wrong.
    """

    members: Mapping[str, npt.NDArray[np.int64]]
    ratios: Table
    targets: Targets
    wrong: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GroupMirror:
    """Both influences between each group and all queries, by seed.

    Attributes:
        train_to_test: float64 [seed, group]; how much higher the queries' mean loss is without the
            group.
        test_to_train: float64 [seed, group]; how much lower the group's mean loss is with the
            queries trained on.
        ratios: float64 [group]; the share of wrong labels.
    """

    train_to_test: Table
    test_to_train: Table
    ratios: Table


def planted_groups(
    labels: Targets,
    *,
    steps: int = 30,
    repeats: int = 1,
    size: int | None = None,
    share: float = 0.5,
    seed: int = 0,
) -> Groups:
    """Labels of which a share is wrong, and groups of which 0 to all are wrong, in equal steps.

    Whole-number labels become another label that the data has; real-valued targets are exchanged
    among themselves.

    Args:
        labels: [train]; as given.
        steps: how many shares of wrong labels, from 0 to 1.
        repeats: how many groups of each share.
        size: examples in a group; by default as many as are made wrong, the authors' choice.
        share: of the labels that is made wrong.
        seed: for all of it.

    Raises:
        SettingError: fewer than three steps, or groups larger than what they are drawn from.
    """
    count = len(labels)
    order = stream(seed, "labels made wrong").permutation(count)
    wrong, right = np.split(order, [round(share * count)])
    size = len(wrong) if size is None else size
    if steps < 3 or repeats < 1 or not 2 <= size <= min(len(wrong), len(right)):
        raise SettingError(
            f"There are {steps} steps, {repeats} groups of each and {size} examples in a group, of "
            f"{len(right)} right and {len(wrong)} wrong labels: take three steps and one group or "
            "more, and groups of two examples or more, no larger than either part."
        )
    draw, members, ratios = stream(seed, "groups of the mirror"), {}, []
    for step, ratio in enumerate(np.linspace(0, 1, steps)):
        bad = round(float(ratio) * size)
        for repeat in range(repeats):
            chosen = [draw.permutation(wrong)[:bad], draw.permutation(right)[: size - bad]]
            members[f"{step:03d}-{repeat:03d}"] = np.sort(np.concatenate(chosen))
            ratios.append(bad / size)
    mask = np.zeros(count, dtype=bool)
    mask[wrong] = True
    return Groups(members, np.array(ratios), _made_wrong(labels, wrong, seed=seed), mask)


def group_mirror(
    retraining: Retraining,
    groups: Groups,
    *,
    seeds: int,
    folder: Path | None,
    progress: Progress,
) -> GroupMirror:
    """Both influences by retraining; finished retrainings are kept in the folder.

    Costs one retraining per seed and group, and three more per seed. Both sides measure the loss.

    Args:
        retraining: what is trained and how, on a pool that holds the wrong labels
            (`auditkit.labelled`), and the queries.
        groups: what is left out.
        seeds: retrainings that each influence is averaged over.
        folder: where finished retrainings are kept; a second call goes on from there.
        progress: is told of every retraining.
    """
    from auditkit.truth import group_influence  # noqa: PLC0415 - brings torch

    measured, train = replace(retraining, measure="loss"), retraining.train
    without = group_influence(
        measured,
        groups=groups.members,
        seeds=seeds,
        folder=None if folder is None else folder / "groups",
        progress=progress,
    )
    joined = train.joined(retraining.asked)
    added = group_influence(
        replace(measured, train=joined, queries=train),
        groups={"queries": np.arange(len(train), len(joined))},
        seeds=seeds,
        folder=None if folder is None else folder / "queries",
        progress=progress,
    )
    helped = added.by_seed[:, :, 0].astype(np.float64)  # [seed, train]
    return GroupMirror(
        train_to_test=without.by_seed.astype(np.float64).mean(axis=1),
        test_to_train=np.stack(
            [helped[:, places].mean(axis=1) for places in groups.members.values()], axis=1
        ),
        ratios=groups.ratios,
    )


def _made_wrong(labels: Targets, wrong: npt.NDArray[np.int64], *, seed: int) -> Targets:
    draw, changed = stream(seed, "which wrong labels"), labels.copy()
    if np.issubdtype(labels.dtype, np.floating):
        changed[wrong] = labels[draw.permutation(wrong)]
        return changed
    classes, own = np.unique(labels, return_inverse=True)
    moved = draw.integers(1, len(classes), size=len(wrong))
    changed[wrong] = classes[(own[wrong] + moved) % len(classes)]
    return changed
