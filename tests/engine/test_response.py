"""Finite differences, tangents and products of gradients: three ways to ask the train side."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, UpdateSettings
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.response import Responses
from auditkit.errors import SettingError
from tests.engine.test_models import LABELS, MODELS

CPU = torch.device("cpu")


def close(found: np.ndarray, expected: np.ndarray, *, within: float) -> bool:
    return bool(np.abs(found - expected).max() <= within * np.abs(expected).max())


def test_the_unmoved_pass_is_taken_once_per_pool(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    seen: list[int] = []

    class Counting(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            if len(batch[1]) == 120:
                seen.append(1)
            return super().loss(model, batch)

    pool = Pool.from_arrays(*blobs)
    engine = ForwardINF(Counting(classifier), train=pool, preconditioner="none")
    engine.influence(pool.subset([1, 2, 3]))
    assert len(seen) == 1 + 3
    engine.influence(pool.subset([4]))
    assert len(seen) == 1 + 3 + 1


@pytest.mark.parametrize("kind", ["none", "adam", "kfac", "ggn"])
@pytest.mark.parametrize("measure", ["loss", "margin"])
def test_finite_differences_with_a_small_step_are_tangents_and_these_are_products(
    kind: str, measure: str, blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    inputs, labels = blobs[0].double(), blobs[1]
    pool = Pool.from_arrays(inputs, labels)
    task = ClassificationTask(copy.deepcopy(classifier).double())
    found = {
        response: ForwardINF(
            task,
            train=pool,
            preconditioner=kind,
            train_measure=measure,
            response=response,
            rise=1e-5,
        )
        .influence(pool.subset([0, 7, 30]))
        .values
        for response in ("finite", "tangent", "products", "first-order")
    }
    for response in ("finite", "products", "first-order"):
        assert close(found[response], found["tangent"], within=1e-3), response


def test_tangents_are_exact_inner_products(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    pool, task = Pool.from_arrays(*blobs), ClassificationTask(classifier)

    def slope(measure: Callable[..., Tensor], place: int) -> Tensor:
        value = measure(
            classifier, (blobs[0][place : place + 1], blobs[1][place : place + 1])
        ).sum()
        return torch.cat(
            [part.ravel() for part in torch.autograd.grad(value, classifier.parameters())]
        )

    train = torch.stack([slope(task.loss, place) for place in range(120)])
    expected = (slope(task.measure, 5) @ train.T / 120).numpy()
    for response in ("tangent", "products"):
        engine = ForwardINF(task, train=pool, preconditioner="none", response=response)
        assert close(engine.influence(pool.subset([5])).values[0], expected, within=1e-5)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "sparse embedding"])
def test_products_are_tangents_on_every_model(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model, train = make(), Pool.from_arrays(inputs, LABELS)
    one, other = (
        ForwardINF(ClassificationTask(model), train=train, preconditioner="none", response=response)
        .influence(train.subset([0, 7]), groups=["g", "g"])
        .values
        for response in ("tangent", "products")
    )
    assert close(one, other, within=2e-2 if name == "recurrent" else 1e-4)


def test_an_operator_without_forward_mode_is_differenced() -> None:
    class OneWay(torch.autograd.Function):
        @staticmethod
        def forward(_: object, value: Tensor) -> Tensor:
            return value * 2

        @staticmethod
        def backward(_: object, slope: Tensor) -> Tensor:
            return slope * 2

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return OneWay.apply(self.layer(inputs).tanh())

    torch.manual_seed(0)
    model, told = Model(), []
    pool = Pool.from_arrays(torch.randn(12, 3), torch.arange(12) % 2)
    one, other = (
        ForwardINF(
            ClassificationTask(model),
            train=pool,
            preconditioner="none",
            response=response,
            warn=told.append,
        )
        .influence(pool.subset([3]))
        .values
        for response in ("tangent", "products")
    )
    assert close(one, other, within=5e-3)
    assert any("no forward derivative" in sentence for sentence in told)


def test_what_does_not_move_is_run_once_for_all_queries(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    calls = {"0": 0, "2": 0}
    pool, task = Pool.from_arrays(*blobs), ClassificationTask(classifier)
    engine = ForwardINF(task, train=pool, preconditioner="none", parameters="2.*")
    expected = engine.influence(pool.subset([1, 2, 3, 4])).values
    watched = nn.Sequential(*classifier)

    def count(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            calls[name] += len(output) == 120

        return hook

    for name in ("0", "2"):
        watched.get_submodule(name).register_forward_hook(count(name))
    responses = Responses(
        task.loss,
        watched,
        pool,
        moving=["2.weight", "2.bias"],
        executor=LocalExecutor(device=CPU),
        device=CPU,
    )
    assert responses.prefix is not None
    assert responses.prefix.share == pytest.approx(2 / 3)
    own = dict(watched.named_parameters())
    moved = [
        {name: own[name].detach() + shift for name in ("2.weight", "2.bias")}
        for shift in (0.1, 0.2, 0.3, 0.4)
    ]
    found = responses.moved(moved)
    assert calls == {"0": 1, "2": 4}
    for weights, row in zip(moved, found, strict=True):
        with torch.no_grad():
            outputs = torch.func.functional_call(watched, weights, (blobs[0],))
            wanted = nn.functional.cross_entropy(outputs.double(), blobs[1], reduction="none")
        assert torch.allclose(row, wanted, atol=1e-6)
    assert np.isfinite(expected).all()


def test_a_model_that_cannot_be_traced_runs_as_a_whole_and_that_is_said(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = classifier[0], classifier[2]

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.body(inputs)
            return self.head(hidden.tanh() if hidden.sum() < 1e9 else hidden)

    pool, told = Pool.from_arrays(*blobs), []
    found, expected = (
        ForwardINF(
            ClassificationTask(model),
            train=pool,
            preconditioner="none",
            parameters=parameters,
            warn=told.append,
        )
        .influence(pool.subset([1, 2]))
        .values
        for model, parameters in ((Branching(), "head.*"), (classifier, "2.*"))
    )
    assert close(found, expected, within=1e-4)
    assert [sentence for sentence in told if "cannot be traced" in sentence]


@pytest.mark.parametrize(
    "update",
    [
        UpdateSettings(step=0.05),
        UpdateSettings(steps=3),
        UpdateSettings(steps=3, replay=60),
        UpdateSettings(descend=True),
    ],
    ids=["fixed step", "three steps", "replayed", "descent"],
)
def test_every_way_to_move_keeps_the_signs(
    update: UpdateSettings, blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    pool, task = Pool.from_arrays(*blobs), ClassificationTask(classifier)
    one, other = (
        ForwardINF(task, train=pool, preconditioner="none", rise=0.2, update=settings).influence(
            pool.subset([5, 50])
        )
        for settings in (update, None)
    )
    assert np.corrcoef(one.values.ravel(), other.values.ravel())[0, 1] > 0.8
    assert ((one.step < 0) == update.descend).all()


def test_replayed_steps_find_the_update_that_the_gauss_newton_matrix_gives(
    blobs: tuple[Tensor, Tensor], softmax_regression: nn.Linear
) -> None:
    """Each replayed step mends the solve: from a poor preconditioner towards the exact one."""
    pool = Pool.from_arrays(blobs[0].double(), blobs[1])
    task, queries = ClassificationTask(softmax_regression), pool.subset([3, 10, 60, 90])

    def scores(**settings: object) -> np.ndarray:
        engine = ForwardINF(task, train=pool, measure="loss", rise=1e-4, damping=1e3, **settings)
        return engine.influence(queries).values

    exact = (
        ForwardINF(task, train=pool, measure="loss", rise=1e-4, preconditioner="ggn", damping=0.0)
        .influence(queries)
        .values
    )

    def agreement(values: np.ndarray) -> float:
        return float(
            np.mean([np.corrcoef(one, two)[0, 1] for one, two in zip(values, exact, strict=True)])
        )

    plain = agreement(scores(preconditioner="diagonal"))
    mended = agreement(
        scores(preconditioner="diagonal", update=UpdateSettings(steps=20, replay=120))
    )
    assert mended > plain


@pytest.mark.parametrize("response", ["first-order", "tangent", "products"])
@pytest.mark.parametrize(
    ("update", "told"),
    [
        (UpdateSettings(step=0.1), "that set step:"),
        (UpdateSettings(steps=3, replay=4), "that set steps and replay:"),
        (UpdateSettings(sphere=1.0), "that set sphere:"),
    ],
)
def test_first_order_scores_refuse_settings_of_an_update(
    response: str, update: UpdateSettings, told: str, classifier: nn.Module
) -> None:
    pool = Pool.from_arrays(torch.randn(4, 6), torch.arange(4) % 3)
    with pytest.raises(SettingError, match=rf"{told} first-order scores move no weights"):
        ForwardINF(ClassificationTask(classifier), train=pool, response=response, update=update)
