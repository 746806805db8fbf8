from __future__ import annotations

import dataclasses
from typing import NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn

from auditkit import Pool, Recipe, Subject, Task
from auditkit.errors import MissingOutputsError, TaskError


class SquaredError(Task):
    """A task with the one method every task must have."""

    def loss(self, model: nn.Module, batch: object) -> Tensor:
        inputs, targets = cast(tuple[Tensor, Tensor], batch)
        predictions: Tensor = model(inputs)[:, 0]
        return (predictions - targets).square()


def make() -> SquaredError:
    return SquaredError(nn.Linear(2, 1), class_names=["no", "yes"])


def test_the_measure_is_the_loss_unless_a_task_says_otherwise() -> None:
    task, batch = make(), (torch.ones(3, 2), torch.zeros(3))
    assert torch.equal(task.measure(task.model, batch), task.loss(task.model, batch))
    assert task.measure_name == "loss"
    assert task.class_names == ("no", "yes")


def test_a_task_without_outputs_says_so_and_how_to_define_them() -> None:
    task = make()
    assert not task.has_outputs
    assert task.likelihood is None
    with pytest.raises(MissingOutputsError, match=r"SquaredError does not define `outputs`.*add"):
        task.outputs(task.model, torch.ones(1))


def test_a_loss_must_be_written() -> None:
    with pytest.raises(TypeError, match="loss"):
        Task(nn.Linear(1, 1))  # type: ignore[abstract]


def test_targets_are_exchanged_in_tuples_and_mappings() -> None:
    task, old, new = make(), torch.zeros(2), torch.ones(2)
    inputs, targets = cast(tuple[Tensor, Tensor], task.with_targets((old, old), new))
    assert inputs is old
    assert targets is new
    mapped = cast(dict[str, Tensor], task.with_targets({"x": old, "labels": old}, new))
    assert mapped == {"x": old, "labels": new}
    with pytest.raises(TaskError, match="define `with_targets"):
        task.with_targets(old, new)


class Pair(NamedTuple):
    inputs: Tensor
    label: Tensor


def test_exchanged_targets_have_the_form_of_the_old_ones() -> None:
    inputs, old, new = torch.ones(2, 3), torch.zeros(2, 1), torch.tensor([1, 0])
    for batch in ((inputs, old), {"x": inputs, "y": old}, Pair(inputs, old)):
        exchanged = make().with_targets(batch, new)
        assert type(exchanged) is type(batch)
        targets = exchanged["y"] if isinstance(exchanged, dict) else cast(Pair, exchanged)[1]
        assert torch.equal(cast(Tensor, targets), torch.tensor([[1.0], [0.0]]))


def test_what_a_user_gives_cannot_be_changed_afterwards() -> None:
    subject = Subject(task=make(), train=Pool([(torch.ones(2), torch.zeros(()))]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        subject.name = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        subject.recipe.epochs = 3  # type: ignore[misc]
    assert subject.recipe == Recipe()
