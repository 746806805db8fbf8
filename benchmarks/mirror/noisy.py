"""The noisy setting: groups with more and more wrong labels, retrained networks.

    python -m benchmarks.mirror noisy --out benchmarks/results/mirror-noisy.json

As in the authors' notebook for Fashion-MNIST: 1,050 training images, half of their labels made
wrong; groups of 525, of which 0 to all are wrong in 30 steps; 500 queries, 50 of each class; SGD
with momentum .9 at rate .01, weight decay .001, batches of 64, ten epochs. Their network has
convolutions of 32 and 64 channels; most rows here have 8 and 16.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from auditkit_mirror.agreement import agreement
from auditkit_mirror.groups import GroupMirror, Groups, group_mirror, planted_groups
from torch import nn

from auditkit import ClassificationTask, Pool, Recipe, labelled, truth
from auditkit.progress import SILENT
from benchmarks.mirror.data import Images, Labels, Name, images

MOST_CHOICES = 10
"""Of how many choices of fewer seeds a correlation is averaged."""


@dataclass(frozen=True)
class Case:
    """One setting of the noisy experiment."""

    name: str
    data: Name = "fashion"
    channels: tuple[int, int] = (8, 16)
    train: int = 1_050
    queries: int = 500
    size: int | None = None
    repeats: int = 1
    seeds: int = 5
    optimizer: str = "sgd"
    weight_decay: float = 1e-3
    epochs: int = 10


CASES = (
    Case("450 groups", repeats=15, seeds=1),
    Case("the authors' network", channels=(32, 64)),
    Case("digits", data="digits", train=1_050, queries=500),
    Case("groups of 200", size=200),
    Case("groups of 50", size=50),
    Case("groups of 10", size=10),
    Case("Adam", optimizer="adam"),
    Case("without weight decay", weight_decay=0.0),
    Case("weight decay .01", weight_decay=1e-2),
)


@dataclass(frozen=True)
class Row:
    """What one case gave: correlations with intervals, and how they depend on seeds and ratios."""

    case: str
    groups: int
    seeds: int
    group_size: int
    train: int
    queries: int
    pearson: tuple[float, float, float]
    spearman: tuple[float, float, float]
    by_seeds: dict[str, tuple[float, float]]
    by_ratio: dict[str, tuple[float, float]]
    seconds: float


def network(case: Case, side: int) -> nn.Module:
    """The authors' network, with as many channels as the case says."""
    first, second = case.channels
    kernel = 5 if side == 28 else 3
    layers = [
        nn.Conv2d(1, first, kernel, padding=0 if side == 28 else 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, kernel, padding=0 if side == 28 else 1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
    ]  # fmt: skip
    width = 16 if side == 28 else 4
    return nn.Sequential(*layers, nn.Linear(second * width, 128), nn.ReLU(), nn.Linear(128, 10))


def problem(case: Case) -> tuple[truth.Retraining, Groups]:
    """What is trained on which labels, and the groups."""
    pictures, labels = images(case.data)
    pictures = pictures[:, None]
    groups = planted_groups(
        labels[: case.train], size=case.size, repeats=case.repeats, steps=30, seed=42
    )
    held = _balanced(labels, np.arange(case.train, len(labels)), count=case.queries)
    torch.manual_seed(42)
    recipe = Recipe(
        optimizer="sgd" if case.optimizer == "sgd" else "adam",
        learning_rate=1e-2 if case.optimizer == "sgd" else 1e-3,
        momentum=0.9 if case.optimizer == "sgd" else 0.0,
        weight_decay=case.weight_decay,
        batch_size=64,
        epochs=case.epochs,
    )
    retraining = truth.Retraining(
        task=ClassificationTask(network(case, pictures.shape[-1])),
        train=labelled(_pool(pictures, labels, np.arange(case.train)), groups.targets),
        queries=_pool(pictures, labels, held),
        recipe=recipe,
    )
    return retraining, groups


def measure(case: Case, folder: Path) -> Row:
    """Both influences, and how far they agree."""
    start = time.perf_counter()
    retraining, groups = problem(case)
    found = group_mirror(
        retraining, groups, seeds=case.seeds, folder=folder / _slug(case.name), progress=SILENT
    )
    both = agreement(found.train_to_test.mean(axis=0), found.test_to_train.mean(axis=0))
    return Row(
        case=case.name,
        groups=len(groups.members),
        seeds=case.seeds,
        group_size=len(next(iter(groups.members.values()))),
        train=case.train,
        queries=len(retraining.asked),
        pearson=(both.pearson.mean, float(both.pearson.low[0]), float(both.pearson.high[0])),
        spearman=(both.spearman.mean, float(both.spearman.low[0]), float(both.spearman.high[0])),
        by_seeds={str(count): _of_seeds(found, count) for count in range(1, case.seeds + 1)},
        by_ratio=dict(_of_ratios(found)),
        seconds=time.perf_counter() - start,
    )


def rows(folder: Path, *, cases: tuple[Case, ...] = CASES) -> Iterator[dict[str, object]]:
    """Every case, one after another; finished retrainings are not done again."""
    for case in cases:
        yield asdict(measure(case, folder))


def _of_seeds(found: GroupMirror, count: int) -> tuple[float, float]:
    """Mean correlations over choices of so many seeds."""
    choices = list(combinations(range(len(found.train_to_test)), count))[:MOST_CHOICES]
    values = []
    for choice in choices:
        sides = (found.train_to_test[list(choice)], found.test_to_train[list(choice)])
        both = agreement(sides[0].mean(axis=0), sides[1].mean(axis=0), resamples=1)
        values.append((both.pearson.mean, both.spearman.mean))
    pearson, spearman = np.mean(values, axis=0)
    return float(pearson), float(spearman)


def _of_ratios(found: GroupMirror) -> Iterator[tuple[str, tuple[float, float]]]:
    """Correlations among groups whose share of wrong labels lies in one third of the range."""
    for name, low, high in (
        ("0 to 1/3", 0, 1 / 3),
        ("1/3 to 2/3", 1 / 3, 2 / 3),
        ("2/3 to 1", 2 / 3, 1),
    ):
        inside = (found.ratios >= low - 1e-9) & (found.ratios <= high + 1e-9)
        sides = (found.train_to_test[:, inside], found.test_to_train[:, inside])
        both = agreement(sides[0].mean(axis=0), sides[1].mean(axis=0), resamples=1)
        yield name, (both.pearson.mean, both.spearman.mean)


def _pool(pictures: Images, labels: Labels, chosen: Labels) -> Pool:
    return Pool.from_arrays(pictures[chosen], labels[chosen])


def _balanced(labels: Labels, among: Labels, *, count: int) -> Labels:
    """The first of each class, `count` in all."""
    each = count // 10
    found: Labels = np.sort(
        np.concatenate([among[labels[among] == label][:each] for label in range(10)])
    )
    return found


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
