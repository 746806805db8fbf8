"""What does not move is run once and handed out unharmed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool
from auditkit.batches import collate
from auditkit.engine.passes import call
from auditkit.engine.prefix import shared_prefix

CPU = torch.device("cpu")


class Adapted(nn.Module):
    """An adapter whose result is added to the unmoved activations, in place or not."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.adapter, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.add = add

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.body(inputs).tanh()
        return self.head(self.add(hidden, 0.3 * self.adapter(hidden.clone()).tanh()))


def kept_apart(hidden: Tensor, more: Tensor) -> Tensor:
    return hidden + more


def in_place(hidden: Tensor, more: Tensor) -> Tensor:
    return hidden.add_(more)


def augmented(hidden: Tensor, more: Tensor) -> Tensor:
    hidden += more
    return hidden


class Tied(nn.Module):
    """One weight under two names, of which the second is used first."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.two.weight = self.one.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.two(inputs * 2).tanh() * self.one(inputs).tanh())


class Spare(nn.Module):
    """A layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.spare = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs).tanh())


@pytest.fixture
def pool(blobs: tuple[Tensor, Tensor]) -> Pool:
    return Pool.from_arrays(*blobs)


@pytest.mark.parametrize("add", [in_place, augmented])
def test_layers_that_work_in_place_leave_later_queries_alone(
    add: Callable[[Tensor, Tensor], Tensor], pool: Pool
) -> None:
    torch.manual_seed(0)
    model = Adapted(add)
    queries = pool.subset([0, 1, 2, 3])

    def scores(add: Callable[[Tensor, Tensor], Tensor], asked: Pool) -> np.ndarray:
        model.add = add
        engine = ForwardINF(
            ClassificationTask(model),
            train=pool,
            preconditioner="none",
            parameters="adapter.*|head.*",
        )
        return engine.influence(asked).values

    assert np.allclose(scores(add, queries), scores(kept_apart, queries), rtol=1e-4)


def test_a_kept_prefix_gives_what_the_model_gives_again_and_again(pool: Pool) -> None:
    model = Adapted(in_place).eval()
    batch = collate(pool, np.arange(5), device=CPU)
    task = ClassificationTask(model)
    prefix, traced = shared_prefix(model, ["head.weight"], task.loss, batch)
    assert traced
    assert prefix is not None
    weights = {"traced.head.weight": model.head.weight}
    with torch.no_grad():
        found = [call(task.loss, prefix, batch, weights) for _ in range(3)]
    assert all(torch.equal(values, task.loss(model, batch)) for values in found)


@pytest.mark.parametrize("response", ["finite", "tangent"])
def test_a_shared_weight_moves_under_all_of_its_names(response: str, pool: Pool) -> None:
    torch.manual_seed(0)
    model = Tied()
    alone = copy.deepcopy(model)
    for name, weight in alone.named_parameters():
        weight.requires_grad_(name == "one.weight")
    options = {"train": pool, "preconditioner": "none", "response": response}
    patterned = ForwardINF(ClassificationTask(model), parameters="one.weight", **options)
    products = ForwardINF(
        ClassificationTask(alone), train=pool, preconditioner="none", response="products"
    )
    found, expected = (one.influence(pool.subset([0, 5])).values for one in (patterned, products))
    within = 1e-4 if response == "tangent" else 0.2
    assert np.abs(found - expected).max() < within * np.abs(expected).max()


def test_a_moving_layer_that_is_never_called_is_no_trouble(pool: Pool) -> None:
    torch.manual_seed(0)
    model = Spare()
    found = [
        ForwardINF(ClassificationTask(model), train=pool, preconditioner="none", parameters=moving)
        .influence(pool.subset([0, 5]))
        .values
        for moving in ("head.*|spare.*", "head.*")
    ]
    assert np.allclose(found[0], found[1], rtol=1e-4)
