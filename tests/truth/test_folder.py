from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from torch import nn

from auditkit import ClassificationTask, Pool
from auditkit.errors import StoreError
from auditkit.progress import SILENT, Progress
from auditkit.truth import Retraining, group_influence, half_subsets, leave_one_out, retrain
from auditkit.truth.folder import facts


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("rate", [1e-2, None], ids=["rate said", "rate chosen"])
def test_a_broken_off_call_goes_on_where_it_stopped(
    small: Retraining,
    trainings: list[object],
    breaks_off: Callable[..., Progress],
    tmp_path: Path,
    rate: float | None,
) -> None:
    small = replace(small, recipe=replace(small.recipe, learning_rate=rate))
    whole = half_subsets(small, count=3, seeds=2)
    trainings.clear()
    folder = tmp_path / "new" / "truth"
    for after, there in ((2, 2), (4, 4)):
        with pytest.raises(KeyboardInterrupt):
            half_subsets(small, count=3, seeds=2, folder=folder, progress=breaks_off(after=after))
        assert len(files(folder)) == there + 1
        assert all(name.endswith((".npy", "retrainings.json")) for name in files(folder))
    found = half_subsets(small, count=3, seeds=2, folder=folder)
    assert len(trainings) == 6
    again = half_subsets(small, count=3, seeds=2, folder=folder)
    assert len(trainings) == 6
    for each in (found, again):
        assert each.by_seed.tobytes() == whole.by_seed.tobytes()
        assert each.measures.tobytes() == whole.measures.tobytes()
        assert np.array_equal(each.members, whole.members)


def test_more_can_be_asked_for_and_what_there_is_serves_every_function(
    small: Retraining, trainings: list[object], tmp_path: Path
) -> None:
    fewer = half_subsets(small, count=2, seeds=1, folder=tmp_path)
    more = half_subsets(small, count=4, seeds=2, folder=tmp_path)
    assert len(trainings) == 8
    assert np.array_equal(more.by_seed[:2, :1], fewer.by_seed)
    assert np.array_equal(more.members[:2], fewer.members)
    alone = leave_one_out(small, positions=[3], seeds=2, folder=tmp_path)
    assert len(trainings) == 12
    group = group_influence(small, groups={"three": [3]}, seeds=2, folder=tmp_path)
    assert len(trainings) == 12
    assert np.array_equal(alone.values, group.values)


def test_the_rate_that_was_chosen_is_kept(small: Retraining, tmp_path: Path) -> None:
    unsaid = replace(small, recipe=replace(small.recipe, learning_rate=None))
    half_subsets(unsaid, count=1, seeds=1, folder=tmp_path)
    record = json.loads((tmp_path / "retrainings.json").read_text())
    record["learning rate chosen"] = 0.5
    (tmp_path / "retrainings.json").write_text(json.dumps(record))
    found = half_subsets(unsaid, count=2, seeds=1, folder=tmp_path)
    said = replace(small, recipe=replace(small.recipe, learning_rate=0.5))
    expected = half_subsets(said, count=2, seeds=1)
    assert np.array_equal(found.measures[1], expected.measures[1])
    assert not np.array_equal(found.measures[0], expected.measures[0])


def other_pool(pool: Pool) -> Pool:
    return Pool(pool.dataset, ids=[f"other {name}" for name in pool.ids])


class Smooth(ClassificationTask):
    def __init__(self, model: nn.Module, smooth: float) -> None:
        super().__init__(model)
        self.smooth = smooth


def wired_otherwise(model: nn.Module) -> nn.Module:
    """The same weights under other nonlinearities."""
    return nn.Sequential(*(nn.GELU() if not list(each.parameters()) else each for each in model))


OTHER: dict[str, Callable[[Retraining], Retraining]] = {
    "train pool": lambda setting: replace(setting, train=other_pool(setting.train)),
    "queries": lambda setting: replace(setting, queries=other_pool(setting.asked)),
    "model": lambda setting: replace(setting, task=ClassificationTask(retrain(setting))),
    "architecture": lambda setting: replace(
        setting, task=ClassificationTask(wired_otherwise(setting.task.model))
    ),
    "settings of the task": lambda setting: replace(
        setting, task=ClassificationTask(setting.task.model, class_names=["a", "b", "c"])
    ),
    "measure": lambda setting: replace(setting, measure="loss"),
    "targets": lambda setting: replace(setting, targets=torch.zeros(60).long()),
    "fresh": lambda setting: replace(setting, fresh=lambda: setting.task.model),
    "pretrained weights": lambda setting: replace(
        setting, pretrained=setting.task.model.state_dict()
    ),
    "learning_rate and epochs": lambda setting: replace(
        setting, recipe=replace(setting.recipe, epochs=1, learning_rate=0.1)
    ),
    "optimizer": lambda setting: replace(
        setting, recipe=replace(setting.recipe, optimizer=torch.optim.SGD)
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_folder_of_something_else_is_refused(
    small: Retraining, tmp_path: Path, what: str
) -> None:
    leave_one_out(small, positions=[0], seeds=1, folder=tmp_path)
    before = files(tmp_path)
    with pytest.raises(StoreError, match=f"holds retrainings with another {what}: give another"):
        leave_one_out(OTHER[what](small), positions=[1], seeds=1, folder=tmp_path)
    assert files(tmp_path) == before


def test_another_seed_has_retrainings_of_its_own(
    small: Retraining, trainings: list[object], tmp_path: Path
) -> None:
    first = half_subsets(small, count=2, seeds=1, folder=tmp_path)
    other = half_subsets(replace(small, seed=7), count=2, seeds=1, folder=tmp_path)
    assert len(trainings) == 4
    assert not np.array_equal(first.members, other.members)


def test_nothing_half_written_stays(
    small: Retraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: BinaryIO, _: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fails)
    with pytest.raises(StoreError, match=r"could not be written to .*: No space left on device"):
        leave_one_out(small, positions=[0], seeds=1, folder=tmp_path)
    assert files(tmp_path) == ["retrainings.json"]


@pytest.mark.parametrize("content", [b"", b"half", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_is_named(small: Retraining, tmp_path: Path, content: bytes) -> None:
    leave_one_out(small, positions=[0], seeds=1, folder=tmp_path)
    damaged = next(tmp_path.glob("*.npy"))
    damaged.write_bytes(content)
    with pytest.raises(StoreError, match=f"{damaged.name} holds no measures of 10 queries"):
        leave_one_out(small, positions=[0], seeds=1, folder=tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"x"'])
def test_a_damaged_record_is_refused(small: Retraining, tmp_path: Path, content: str) -> None:
    (tmp_path / "retrainings.json").write_text(content)
    with pytest.raises(StoreError, match=r"retrainings\.json cannot be read"):
        leave_one_out(small, positions=[0], seeds=1, folder=tmp_path)


def test_a_folder_that_is_a_file_is_refused(small: Retraining, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written to"):
        leave_one_out(small, positions=[0], seeds=1, folder=tmp_path / "file")


def test_arguments_of_partial_functions_and_attributes_of_the_task_count(
    small: Retraining,
) -> None:
    def known(momentum: float, smooth: float) -> object:
        optimizer = functools.partial(torch.optim.SGD, lr=0.1, momentum=momentum)
        setting = replace(
            small,
            recipe=replace(small.recipe, optimizer=optimizer),
            task=Smooth(small.task.model, smooth),
        )
        return facts(setting, progress=SILENT)

    assert known(0.1, 0.1) == known(0.1, 0.1)
    assert known(0.1, 0.1) != known(0.2, 0.1)
    assert known(0.1, 0.1) != known(0.1, 0.2)
