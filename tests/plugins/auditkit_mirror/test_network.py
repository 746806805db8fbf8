from __future__ import annotations

from dataclasses import replace

import torch
from auditkit_mirror.network import seconds_per_example
from torch import Tensor, nn

import auditkit
from auditkit.testing import tiny_subject


class Lone(nn.Module):
    """A weight of its own that nothing can initialize anew."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64, 10))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1) @ self.scale


def test_an_example_of_a_retraining_has_a_price() -> None:
    found = seconds_per_example(tiny_subject(examples=60, epochs=1))
    assert isinstance(found, float)
    assert 0 < found < 10


def test_a_model_that_cannot_be_trained_anew_says_why() -> None:
    subject = replace(tiny_subject(examples=60, epochs=1), task=auditkit.ClassificationTask(Lone()))
    found = seconds_per_example(subject)
    assert isinstance(found, str)
    assert "fresh" in found
