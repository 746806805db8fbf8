from __future__ import annotations

import numpy as np
import pytest
import torch

from auditkit import Pool
from auditkit.checks import per_example
from auditkit.errors import NonFiniteLossError, ReducedLossError

POOL = Pool.from_arrays(torch.zeros(6), ids=list("abcdef"))
PLACES = np.array([4, 2, 0])


def test_one_finite_number_per_example_is_passed_on() -> None:
    values = torch.tensor([1.0, -2.0, 0.0], requires_grad=True)
    assert per_example(values, POOL, PLACES) is values
    assert per_example(torch.tensor([1, 2, 3]), POOL, PLACES).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (torch.tensor(1.0), "one number for a batch of 3"),
        (torch.zeros(2), r"shape \(2,\)"),
        (torch.zeros(3, 1), r"shape \(3, 1\)"),
        (torch.zeros(0), r"shape \(0,\)"),
    ],
)
def test_other_shapes_are_refused(values: torch.Tensor, told: str) -> None:
    with pytest.raises(ReducedLossError, match=rf"`measure` gave {told}.*reduction=\"none\""):
        per_example(values, POOL, PLACES, what="measure")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_the_first_example_without_a_number_is_named(wrong: float, requires_grad: bool) -> None:
    values = torch.tensor([1.0, wrong, float("nan")], requires_grad=requires_grad)
    with pytest.raises(NonFiniteLossError, match=f"loss of example 'c' is {wrong}"):
        per_example(values, POOL, PLACES)
