from __future__ import annotations

import pytest
import torch
from torch import nn

from auditkit.errors import TaskError
from auditkit.gradients import differentiable, gradient


def test_the_gradient_is_what_backward_accumulates_and_accumulates_nothing() -> None:
    model, inputs = nn.Linear(3, 2), torch.randn(5, 3)
    found = gradient(model(inputs).square().sum(), model)
    assert model.weight.grad is None
    model(inputs).square().sum().backward()
    assert torch.allclose(found["weight"], model.weight.grad)
    assert torch.allclose(found["bias"], model.bias.grad)


def test_only_weights_that_bear_on_the_value_are_in_it() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].requires_grad_(requires_grad=False)
    assert set(gradient(model[0](model[1](torch.ones(1, 2))).sum(), model)) == {
        "0.weight",
        "0.bias",
    }


def test_a_value_that_depends_on_no_trainable_weight_is_refused() -> None:
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    frozen = nn.Linear(2, 2).requires_grad_(requires_grad=False)
    for value, given in (
        (other(torch.ones(1, 2)).sum(), model),
        (model(torch.ones(1, 2)).detach().sum(), model),
        (frozen(torch.ones(1, 2)).sum(), frozen),
        (torch.ones(()), nn.Identity()),
    ):
        with pytest.raises(TaskError, match=r"call the `model` argument, not `self\.model`"):
            gradient(value, given)


def test_gradients_are_recorded_whatever_mode_the_caller_is_in() -> None:
    model = nn.Linear(2, 1)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            with differentiable():
                assert "weight" in gradient(model(torch.ones(1, 2)).sum(), model)
            assert not torch.is_grad_enabled()
