"""One engine, many kinds of models and batches."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, RegressionTask, Task

LABELS = torch.arange(48) % 3


def noise(*shape: int) -> Tensor:
    return torch.randn(48, *shape, generator=torch.Generator().manual_seed(0))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.recurrent(inputs)[0][:, -1])


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
        self.embed, self.head = nn.Linear(2, 8), nn.Linear(8, 3)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(inputs)).mean(dim=1))


class Tied(nn.Module):
    """Predicts the next of three tokens with the embedding that reads the last ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(3, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 3, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.mix(self.embedding(tokens).mean(dim=1)).tanh())


def convolutional(norm: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), norm(), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )


def tokens() -> Tensor:
    return torch.randint(0, 3, (48, 5), generator=torch.Generator().manual_seed(0))


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "recurrent": (Recurrent, noise(4, 2)),
    "transformer": (Attentive, noise(4, 2)),
    "tied": (Tied, tokens()),
    "batch norm": (lambda: convolutional(lambda: nn.BatchNorm2d(4)), noise(1, 6, 6)),
    "group norm": (lambda: convolutional(lambda: nn.GroupNorm(2, 4)), noise(1, 6, 6)),
    "one dimension": (
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
        noise(2, 6),
    ),
    "sparse embedding": (
        lambda: nn.Sequential(nn.Embedding(3, 2, sparse=True), nn.Flatten(), nn.Linear(10, 3)),
        tokens(),
    ),
    "parametrized": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 3)
        ),
        noise(4),
    ),
}


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac", "ggn"])
@pytest.mark.parametrize("name", MODELS)
def test_examples_are_their_own_proponents(name: str, kind: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model = make()
    train = Pool.from_arrays(inputs, LABELS)
    engine = ForwardINF(ClassificationTask(model), train=train, preconditioner=kind)
    found = engine.influence(train.subset([0, 7, 20])).values
    assert (found[[0, 1, 2], [0, 7, 20]] > 0).all()
    assert found.std(axis=1).min() > 0


class Adapted(nn.Module):
    """A frozen layer with a trained low-rank adapter (LoRA)."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 6).requires_grad_(requires_grad=False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.head = nn.Linear(6, 3).requires_grad_(requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((self.base(inputs) + self.up(self.down(inputs))).tanh())


@pytest.mark.parametrize("kind", ["none", "kfac", "ekfac", "ggn"])
def test_of_an_adapted_model_only_the_adapters_move(kind: str) -> None:
    torch.manual_seed(0)
    seen: list[set[str]] = []

    class Watched(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            names = {
                name
                for name, weight in own.items()
                if not torch.equal(weight, attrgetter(prefix(model) + name)(model))
            }
            seen.append(names)
            return super().loss(model, batch)

    def prefix(model: nn.Module) -> str:
        return "traced." if hasattr(model, "traced") else ""

    model = Adapted()
    own = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train = Pool.from_arrays(noise(4), LABELS)
    engine = ForwardINF(Watched(model), train=train, preconditioner=kind, train_measure="loss")
    found = engine.influence(train.subset([0, 7]))
    assert set.union(*seen) == {"down.weight", "up.weight"}
    assert (found.values[[0, 1], [0, 7]] > 0).all()


@pytest.mark.parametrize("name", [name for name in MODELS if name != "parametrized"])
def test_every_model_can_be_held_out_of(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    train = Pool.from_arrays(inputs, LABELS)
    recipe = Recipe(optimizer="sgd", learning_rate=1e-2, batch_size=31)  # leaves one alone
    held = ForwardINF(ClassificationTask(make()), train=train, recipe=recipe).holdout(
        folds=3, epochs=1
    )
    assert np.isfinite(held.outside).all()
    assert (held.outside > 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["none", "adam", "diagonal", "kfac", "ekfac", "ggn"])
def test_half_precision_agrees_with_single(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)
    whole = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    whole.load_state_dict(model.state_dict())
    train = Pool.from_arrays(noise(4), LABELS)
    found, expected = (
        ForwardINF(ClassificationTask(one), train=train, preconditioner=kind)
        .influence(train.subset(range(6)))
        .values
        for one in (model, whole)
    )
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95


def test_frozen_weights_stay_where_they_are() -> None:
    class Watched(ClassificationTask):
        def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            seen.append(model[0].weight.detach().clone())
            return super().measure(model, batch)

    seen: list[Tensor] = []
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    model[0].requires_grad_(requires_grad=False)
    train = Pool.from_arrays(noise(4), LABELS)
    engine = ForwardINF(Watched(model), train=train, recipe=Recipe(learning_rate=0.1))
    engine.influence(train.subset([0]))
    engine.holdout(folds=2, epochs=1)
    assert len(seen) > 5
    assert all(torch.equal(weight, model[0].weight) for weight in seen)


class Pair(NamedTuple):
    inputs: Tensor
    label: Tensor


class Rows:
    """Examples in one form or another."""

    def __init__(self, form: Callable[[Tensor, Tensor], object]) -> None:
        self.form = form

    def __len__(self) -> int:
        return 48

    def __getitem__(self, position: int) -> object:
        return self.form(noise(4)[position], LABELS[position])


class Named(nn.Module):
    """Takes two inputs by name, or by place."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.left(first) + self.right(second)


@pytest.mark.parametrize(
    ("form", "make"),
    [
        (lambda x, y: (x, y), lambda: nn.Linear(4, 3)),
        (lambda x, y: [x, int(y)], lambda: nn.Linear(4, 3)),
        (lambda x, y: (x.numpy(), np.int64(y)), lambda: nn.Linear(4, 3)),
        (Pair, lambda: nn.Linear(4, 3)),
        (lambda x, y: {"x": x, "label": y}, lambda: nn.Linear(4, 3)),
        (lambda x, y: {"first": x, "second": x, "labels": y}, Named),
        (lambda x, y: (x, -x, y), Named),
    ],
    ids=["tuple", "list", "arrays", "named tuple", "mapping", "two by name", "two by place"],
)
def test_batches_of_all_forms(
    form: Callable[[Tensor, Tensor], object], make: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    engine = ForwardINF(
        ClassificationTask(make()), train=Pool(Rows(form)), recipe=Recipe(learning_rate=1e-2)
    )
    assert engine.influence(engine.train.subset([3])).values[0, 3] > 0
    assert np.isfinite(engine.holdout(folds=2, epochs=1).outside).all()


def test_a_task_without_targets_is_scored_on_bare_tensors() -> None:
    class Reconstruct(Task):
        likelihood = "gaussian"

        def outputs(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
            return model(batch), batch

        def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
            return (model(batch) - batch).square().mean(dim=1)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4))
    engine = ForwardINF(
        Reconstruct(model), train=Pool.from_arrays(noise(4)), recipe=Recipe(learning_rate=1e-2)
    )
    assert engine.influence(engine.train.subset([3])).values[0, 3] > 0
    assert np.isfinite(engine.holdout(folds=2, epochs=1).outside).all()


def test_one_score_is_the_log_odds_of_two_classes() -> None:
    torch.manual_seed(0)
    one, two = nn.Linear(4, 1), nn.Linear(4, 2)
    with torch.no_grad():
        two.weight.copy_(torch.cat([torch.zeros(1, 4), one.weight]))
        two.bias.copy_(torch.cat([torch.zeros(1), one.bias]))
    pool = Pool.from_arrays(noise(4), LABELS % 2)
    measured = [
        ForwardINF(
            ClassificationTask(model), train=pool, recipe=Recipe(learning_rate=1e-2)
        ).holdout(folds=2, epochs=1)
        for model in (one, two)
    ]
    assert np.allclose(measured[0].inside, measured[1].inside, atol=1e-6)
    assert measured[0].probabilities_outside.shape == (48, 2)


# While it traces, torch itself reads the attribute that it warns about.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiled_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    compiled = torch.compile(model, backend="eager")
    train = Pool.from_arrays(noise(4), LABELS)
    found, expected = (
        ForwardINF(ClassificationTask(one), train=train).influence(train.subset([0, 5])).values
        for one in (compiled, model)
    )
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_the_callers_code_does_not_matter(mode: Callable[[], object]) -> None:
    def run() -> tuple[np.ndarray, np.ndarray]:
        engine = ForwardINF(RegressionTask(model), train=train, recipe=Recipe(learning_rate=1e-2))
        return engine.influence(train.subset([0])).values, engine.holdout(folds=2, epochs=1).outside

    model, train = nn.Linear(4, 1), Pool.from_arrays(noise(4), noise())
    expected = run()
    with mode():
        found = run()
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])
