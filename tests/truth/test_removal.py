from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import Pool, Task
from auditkit.errors import SettingError
from auditkit.progress import SILENT
from auditkit.truth import Retraining, group_influence, leave_one_out
from auditkit.truth.measuring import measured
from auditkit.truth.retraining import Leg


def test_leave_one_out_is_the_closed_form(regression: Retraining, ridge: object) -> None:
    places = [0, 5, 17, 39]
    found = leave_one_out(regression, positions=places, seeds=1)
    expected = np.stack([ridge.change(without=[place]) for place in places], axis=1)
    assert np.allclose(found.values, expected, atol=1e-6, rtol=1e-4)
    assert np.allclose(found.base[0], ridge.losses(without=[]), rtol=1e-5)
    assert (found.values > 0).any()
    assert (found.values < 0).any()
    assert found.left_out == ("0", "5", "17", "39")
    assert found.query_ids == regression.asked.ids
    assert found.measure == "loss"


def test_group_influence_is_the_closed_form(regression: Retraining, ridge: object) -> None:
    groups = {"first": list(range(10)), "odd": np.arange(1, 40, 2), "one": [4]}
    found = group_influence(regression, groups=groups, seeds=1)
    expected = np.stack([ridge.change(without=list(group)) for group in groups.values()], axis=1)
    assert np.allclose(found.values, expected, atol=1e-6, rtol=1e-4)
    assert np.allclose(found.over_queries, expected.mean(axis=0), atol=1e-6, rtol=1e-4)
    assert found.left_out == ("first", "odd", "one")


class Level(Task):
    """Learns the mean of its targets, and measures it: influence is exactly additive."""

    measure_name = "level"

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model(batch[0])[:, 0] - batch[1]).square()

    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return model(batch[0])[:, 0]


def test_a_group_is_the_sum_of_its_examples_where_influence_is_additive(
    regression: Retraining, ridge: object
) -> None:
    nothing = torch.zeros(40, 3).double()
    level = replace(
        regression,
        task=Level(regression.task.model),
        train=Pool.from_arrays(nothing, ridge.targets),
        queries=Pool.from_arrays(nothing[:2], ridge.targets[:2]),
        recipe=replace(regression.recipe, weight_decay=0.0),
    )
    group = [2, 3, 11, 30]
    together = group_influence(level, groups={"all": group}, seeds=1)
    alone = leave_one_out(level, positions=group, seeds=1)
    # Without g of n examples the mean moves by the sum of (mean - example) over n - g.
    expected = alone.values.sum(axis=1) * 39 / 36
    assert np.allclose(together.values[:, 0], expected, rtol=1e-4)
    assert together.measure == "level"


def test_noise_of_training_cancels_between_with_and_without(small: Retraining) -> None:
    seeds, places = 4, [0, 1, 2]
    found = leave_one_out(small, positions=places, seeds=seeds)
    legs = [
        Leg(seed, None if out is None else np.delete(np.arange(60), out))
        for seed in range(seeds)
        for out in (None, *places)
    ]
    values = np.stack(measured(small, legs, folder=None, progress=SILENT))
    anew = values.reshape(seeds, 4, -1)
    changes = (anew[:, 1:] - anew[:, :1]).transpose(0, 2, 1)
    plain = (changes.std(axis=0, ddof=1) / 2).mean()
    assert found.standard_errors.mean() < plain / 2
    assert np.allclose(found.values, found.by_seed.mean(axis=0), atol=1e-6)
    assert found.by_seed.shape == (seeds, len(small.asked), 3)


def test_one_seed_has_no_standard_error(small: Retraining) -> None:
    found = leave_one_out(small, positions=[0], seeds=1)
    assert np.isnan(found.standard_errors).all()


def test_trainings_of_groups_and_of_single_examples_are_shared(
    small: Retraining, trainings: list[object]
) -> None:
    groups = {"a": [3, 1], "b": [1, 3], "c": [5]}
    found = group_influence(small, groups=groups, seeds=2)
    assert len(trainings) == 6
    assert np.array_equal(found.values[:, 0], found.values[:, 1])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "There is nothing to leave out"),
        ({"a": []}, "The group 'a' leaves out 0 examples, 0 different ones, of 60"),
        ({"a": [1, 1]}, "leaves out 2 examples, 1 different ones, of 60"),
        ({"a": range(60)}, "leaves out 60 examples, 60 different ones, of 60"),
        ({"a": [1, 60]}, "leaves out example 60: positions in this train pool are 0 to 59"),
        ({"a": [-1]}, "leaves out example -1"),
    ],
)
def test_what_cannot_be_left_out_is_refused(
    small: Retraining, groups: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        group_influence(small, groups=groups)


def test_positions_and_seeds_are_checked(small: Retraining) -> None:
    with pytest.raises(SettingError, match="The position 99 leaves out example 99"):
        leave_one_out(small, positions=[0, 99])
    with pytest.raises(SettingError, match="seeds is 0"):
        leave_one_out(small, positions=[0], seeds=0)
