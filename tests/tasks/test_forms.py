from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from auditkit.errors import TaskError
from auditkit.subject import TARGET_KEYS
from auditkit.tasks.forms import predict, split

X, Y = torch.ones(2, 3), torch.tensor([0, 1])


def test_the_last_of_a_sequence_is_the_target() -> None:
    for batch in ((X, Y), [X, Y]):
        inputs, targets = split(batch, task="T")
        assert inputs is X
        assert targets is Y
    inputs, targets = split((X, -X, Y), task="T")
    assert isinstance(inputs, tuple)
    assert len(inputs) == 2
    assert targets is Y


@pytest.mark.parametrize("key", TARGET_KEYS)
def test_a_mapping_has_its_targets_under_a_known_key(key: str) -> None:
    batch = {"x": X, key: Y}
    inputs, targets = split(batch, task="T")
    assert targets is Y
    assert inputs == {"x": X}
    assert set(batch) == {"x", key}


@pytest.mark.parametrize("batch", [X, (X,), {"x": X, "lable": Y}, "text", {}])
def test_a_batch_without_targets_is_refused(batch: object) -> None:
    with pytest.raises(TaskError, match=r"MyTask got a .* batch and finds no targets"):
        split(batch, task="MyTask")


class Sum(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first - second


def test_inputs_are_given_by_place_or_by_name() -> None:
    assert torch.equal(predict(Sum(), (X, 3 * X)), -2 * X)
    assert torch.equal(predict(Sum(), {"second": X, "first": 3 * X}), 2 * X)
    assert torch.equal(predict(nn.Identity(), {"whatever": X}), X)


def test_logits_and_first_entries_are_the_outputs() -> None:
    class Wrapped(nn.Module):
        def __init__(self, wrap: object) -> None:
            super().__init__()
            self.wrap = wrap

        def forward(self, inputs: Tensor) -> object:
            return self.wrap(inputs)

    assert predict(Wrapped(lambda x: SimpleNamespace(logits=x)), X) is X
    assert predict(Wrapped(lambda x: (x, None)), X) is X
    assert predict(Wrapped(lambda x: [x, None]), X) is X


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_floating_inputs_take_the_precision_of_the_weights(dtype: torch.dtype) -> None:
    assert predict(nn.Linear(3, 1).to(dtype), X).dtype == dtype
    tokens = torch.tensor([[0, 1]])
    assert predict(nn.Embedding(2, 3).to(dtype), tokens).dtype == dtype
    assert predict(nn.Identity(), X) is X
