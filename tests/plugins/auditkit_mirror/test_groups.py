from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from auditkit_mirror.agreement import pearson
from auditkit_mirror.groups import group_mirror, planted_groups
from torch import nn

from auditkit import ClassificationTask, Pool, Recipe, errors, labelled
from auditkit.progress import SILENT
from auditkit.truth import Retraining, retrain

LABELS = np.arange(80) % 4


def test_half_of_the_labels_are_made_wrong_and_groups_hold_more_and_more_of_them() -> None:
    found = planted_groups(LABELS, steps=5, repeats=2, size=12)
    assert found.wrong.sum() == 40
    assert ((found.targets != LABELS) == found.wrong).all()
    assert set(found.targets) <= set(LABELS)
    assert len(found.members) == 10
    assert found.ratios.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1]
    for places, ratio in zip(found.members.values(), found.ratios, strict=True):
        assert len(set(places)) == 12
        assert found.wrong[places].mean() == ratio


def test_real_values_are_exchanged_among_themselves() -> None:
    values = np.random.default_rng(0).normal(size=(40, 2))
    found = planted_groups(values, steps=3, size=10)
    assert (found.targets[~found.wrong] == values[~found.wrong]).all()
    assert sorted(found.targets[:, 0]) == pytest.approx(sorted(values[:, 0]))
    assert (found.targets != values).any()


@pytest.mark.parametrize("size", [1, 41])
def test_groups_that_cannot_be_drawn_are_refused(size: int) -> None:
    with pytest.raises(errors.SettingError, match=f"{size} examples in a group"):
        planted_groups(LABELS, size=size)


def problem() -> tuple[Retraining, np.ndarray, np.ndarray]:
    """Two classes told apart by their first feature, and a small network."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(160, 3, generator=draw)
    labels = (inputs[:, 0] + 0.3 * torch.randn(160, generator=draw) > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    retraining = Retraining(
        task=ClassificationTask(model),
        train=Pool.from_arrays(inputs[:120], labels[:120]),
        queries=Pool.from_arrays(inputs[120:], labels[120:]),
        recipe=Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.9, epochs=4, batch_size=30),
    )
    return retraining, inputs.numpy(), labels.numpy()


def test_both_sides_are_what_their_definitions_say(tmp_path: Path) -> None:
    from dataclasses import replace

    retraining, inputs, labels = problem()
    groups = planted_groups(labels[:120], steps=4, size=20)
    planted = replace(retraining, train=labelled(retraining.train, groups.targets))
    found = group_mirror(planted, groups, seeds=2, folder=tmp_path, progress=SILENT)
    assert found.train_to_test.shape == found.test_to_train.shape == (2, 4)

    def loss(model: nn.Module, values: np.ndarray, targets: np.ndarray) -> float:
        with torch.no_grad():
            outputs = model(torch.as_tensor(values))
        return float(nn.functional.cross_entropy(outputs, torch.as_tensor(targets).long()))

    members = groups.members["002-000"]
    whole, without = retrain(planted, seed=1), retrain(planted, seed=1, left_out=members)
    change = loss(without, inputs[120:], labels[120:]) - loss(whole, inputs[120:], labels[120:])
    assert found.train_to_test[1, 2] == pytest.approx(change, abs=1e-5)

    joined = replace(planted, train=planted.train.joined(planted.asked))
    queries = np.arange(120, 160)
    added, bare = retrain(joined, seed=1), retrain(joined, seed=1, left_out=queries)
    own = groups.targets[members]
    helped = loss(bare, inputs[members], own) - loss(added, inputs[members], own)
    assert found.test_to_train[1, 2] == pytest.approx(helped, abs=1e-5)


def test_wrong_labels_harm_in_both_directions() -> None:
    from dataclasses import replace

    retraining, _, labels = problem()
    groups = planted_groups(labels[:120], steps=8, size=30)
    planted = replace(retraining, train=labelled(retraining.train, groups.targets))
    found = group_mirror(planted, groups, seeds=2, folder=None, progress=SILENT)
    sides = found.train_to_test.mean(axis=0), found.test_to_train.mean(axis=0)
    assert pearson(*sides) > 0.8
    for side in sides:
        assert side[0] > 0 > side[-1]
