"""Kept curvature gives the same scores, bit by bit, and has all it depends on in its key."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, RegressionTask, Task
from auditkit.engine.factors import KeptFactors, key_of
from auditkit.engine.preconditioner import Choice
from auditkit.engine.probes import examined
from auditkit.errors import StoreError
from auditkit.progress import SILENT, Step

CPU = torch.device("cpu")


class Shelf:
    """Keeps what it is given, as a file would: contiguous copies."""

    def __init__(self) -> None:
        self.kept: dict[str, KeptFactors] = {}
        self.given = 0

    def get(self, key: str) -> KeptFactors | None:
        self.given += key in self.kept
        return self.kept.get(key)

    def put(self, key: str, factors: KeptFactors) -> None:
        assert all(isinstance(fact, str) for fact in factors.facts.values())
        self.kept[key] = KeptFactors(
            {n: p.clone(memory_format=torch.contiguous_format) for n, p in factors.tensors.items()},
            factors.facts,
        )


class Convolutional(nn.Module):
    """Layers of every kind that is read off, and one whose gradients are not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3)
        self.norm = nn.GroupNorm(1, 3)
        self.cell = nn.RNN(4, 5, batch_first=True)
        self.last = nn.Linear(5, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.norm(self.first(inputs).tanh()).mean(dim=1)
        return self.last(self.cell(found)[0][:, -1])


@pytest.fixture(scope="module")
def images() -> Pool:
    generator = torch.Generator().manual_seed(0)
    return Pool.from_arrays(torch.randn(40, 1, 6, 6, generator=generator), torch.arange(40) % 3)


@pytest.fixture(scope="module")
def convolutional() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Convolutional().eval()


def scores(task: Task, pool: Pool, *, kind: Choice, factors: Shelf | None) -> np.ndarray:
    engine = ForwardINF(task, train=pool, preconditioner=kind, factors=factors)
    return engine.influence(pool.subset([0, 5, 9])).values


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac", "ggn"])
def test_scores_from_kept_curvature_are_the_same_bit_by_bit(
    convolutional: nn.Module, images: Pool, kind: Choice
) -> None:
    task, shelf = ClassificationTask(convolutional), Shelf()
    without = scores(task, images, kind=kind, factors=None)
    first = scores(task, images, kind=kind, factors=shelf)
    assert (len(shelf.kept), shelf.given) == (1, 0)
    second = scores(
        ClassificationTask(copy.deepcopy(convolutional)), images, kind=kind, factors=shelf
    )
    assert (len(shelf.kept), shelf.given) == (1, 1)
    assert without.tobytes() == first.tobytes() == second.tobytes()


def test_conjugate_gradients_begin_from_kept_factors(
    convolutional: nn.Module, images: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditkit.engine.preconditioner.fits", lambda *_, **__: False)
    task, shelf = ClassificationTask(convolutional), Shelf()
    found = [scores(task, images, kind="ggn", factors=each) for each in (None, shelf, shelf)]
    assert shelf.given == 1
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    scores(task, images, kind="kfac", factors=shelf)  # the same factors
    assert shelf.given == 2


@pytest.mark.parametrize("kind", ["none", "adam"])
def test_what_estimates_nothing_keeps_nothing(
    convolutional: nn.Module, images: Pool, kind: Choice
) -> None:
    shelf = Shelf()
    scores(ClassificationTask(convolutional), images, kind=kind, factors=shelf)
    assert not shelf.kept


def test_each_checkpoint_has_its_own(classifier: nn.Module, blobs: tuple[Tensor, Tensor]) -> None:
    shelf, pool = Shelf(), Pool.from_arrays(*blobs)
    other = {name: 1.1 * part for name, part in classifier.state_dict().items()}
    for _ in range(2):
        task = ClassificationTask(classifier)
        engine = ForwardINF(task, train=pool, checkpoints=[other], factors=shelf)
        engine.influence(pool.subset([0]))
    assert (len(shelf.kept), shelf.given) == (2, 2)


def test_an_engine_of_another_damping_estimates_nothing_anew(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    pool, seen = Pool.from_arrays(*blobs), Seen()
    task, asked = ClassificationTask(classifier), pool.subset([0, 1])
    engine = ForwardINF(task, train=pool, progress=seen, damping=1.0)
    engine.influence(asked)
    seen.doing.clear()
    other = engine.configured(rise=0.5, damping=10.0)
    found = other.influence(asked).values
    assert not [each for each in seen.doing if "curvature" in each]
    expected = ForwardINF(task, train=pool, rise=0.5, damping=10.0).influence(asked).values
    assert found.tobytes() == expected.tobytes()
    stays = other.configured(response="first-order").influence(asked).values
    expected = ForwardINF(task, train=pool, damping=10.0, response="first-order")
    assert np.allclose(stays, expected.influence(asked).values)
    assert engine.influence(asked).values.tobytes() != found.tobytes()  # it is as it was


class Seen:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.doing: list[str] = []

    def step(self, description: str, total: int) -> AbstractContextManager[Step]:
        self.doing.append(description)
        return SILENT.step(description, total)


class Squared(RegressionTask):
    """The same outputs under another class."""


Change = Callable[[nn.Module, Pool], dict[str, object]]


def trained_further(model: nn.Module, _: Pool) -> dict[str, object]:
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    return {"model": other}


def frozen_in_part(model: nn.Module, _: Pool) -> dict[str, object]:
    other = copy.deepcopy(model)
    next(other.parameters()).requires_grad_(False)
    return {"model": other}


def other_code(model: nn.Module, _: Pool) -> dict[str, object]:
    other = copy.deepcopy(model)
    other.forward = lambda inputs: 2 * nn.Sequential.forward(other, inputs)  # type: ignore[method-assign]
    return {"model": other}


def other_example(_: nn.Module, pool: Pool) -> dict[str, object]:
    inputs, labels = pool.dataset.rows(np.arange(len(pool)))
    inputs = torch.as_tensor(inputs).clone()
    inputs[57, 0] += 1e-3
    return {"pool": Pool.from_arrays(inputs, torch.as_tensor(labels))}


CHANGES: list[Change] = [
    trained_further,
    frozen_in_part,
    other_code,
    other_example,
    lambda _, pool: {"pool": pool.subset(range(100))},
    lambda *_: {"what": "kfac of 100"},
    lambda *_: {"seed": 1},
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_shapes_the_estimate_is_in_its_key(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor], change: Change
) -> None:
    pool = Pool.from_arrays(*blobs)

    def key(
        *, model: nn.Module = classifier, pool: Pool = pool, what: str = "kfac", seed: int = 0
    ) -> str:
        return key_of(what, ClassificationTask(model), model, pool, seed=seed, device=CPU)

    assert key() == key(model=copy.deepcopy(classifier))
    assert key(**change(classifier, pool)) != key()  # type: ignore[arg-type]


def test_the_task_is_in_the_key(blobs: tuple[Tensor, Tensor]) -> None:
    model, pool = nn.Linear(6, 1), Pool.from_arrays(blobs[0], blobs[0][:, :1])
    one, other = (
        key_of("kfac", kind(model), model, pool, seed=0, device=CPU)
        for kind in (RegressionTask, Squared)
    )
    assert one != other


def test_examples_that_no_estimate_looks_at_are_not_in_the_key(
    classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditkit.engine.outputs._EXAMPLES", 20)
    monkeypatch.setattr("auditkit.engine.probes.SAMPLE", 10)
    inputs, labels = torch.randn(200, 6), torch.arange(200) % 3
    before = [Pool.from_arrays(inputs, labels)]
    task = ClassificationTask(classifier)
    looked_at = examined(task, before[0], 0)
    assert 20 <= len(looked_at) <= 30
    elsewhere = np.setdiff1d(np.arange(1, 199), [*looked_at, 66, 132, 133])[0]
    changed = inputs.clone()
    changed[elsewhere] += 1
    pools = [*before, Pool.from_arrays(changed, labels)]
    keys = {key_of("kfac", task, classifier, pool, seed=0, device=CPU) for pool in pools}
    assert len(keys) == 1


class Broken(Shelf):
    """A store in which everything fails."""

    def get(self, key: str) -> KeptFactors | None:
        raise StoreError("the file is damaged.")

    def put(self, key: str, factors: KeptFactors) -> None:
        raise StoreError("the disk is full.")


def test_a_store_that_fails_costs_a_sentence_and_not_the_scores(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    said: list[str] = []
    pool, task = Pool.from_arrays(*blobs), ClassificationTask(classifier)
    engine = ForwardINF(task, train=pool, factors=Broken(), warn=said.append)
    found = engine.influence(pool.subset([0])).values
    assert said == [
        "Kept curvature was not used: the file is damaged.",
        "The curvature was not kept: the disk is full.",
    ]
    assert found.tobytes() == scores_of_one(task, pool).tobytes()


def scores_of_one(task: Task, pool: Pool) -> np.ndarray:
    return ForwardINF(task, train=pool).influence(pool.subset([0])).values


@pytest.mark.parametrize("kind", ["kfac", "ggn"])
@pytest.mark.parametrize("wrong", ["shape", "missing", "facts"])
def test_what_does_not_fit_the_model_is_not_used(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor], kind: Choice, wrong: str
) -> None:
    said: list[str] = []
    pool, task, shelf = Pool.from_arrays(*blobs), ClassificationTask(classifier), Shelf()
    right = scores(task, pool, kind=kind, factors=shelf)
    [(key, kept)] = shelf.kept.items()
    tensors = dict(kept.tensors)
    name = next(name for name in tensors if "moments" in name or "slopes" in name)
    if wrong == "shape":
        tensors[name] = tensors[name][:, :-1]
    elif wrong == "missing":
        del tensors[name.replace("slopes", "inputs")]
    facts = {"layers": "["} if wrong == "facts" else kept.facts
    shelf.kept[key] = KeptFactors(tensors, facts)
    engine = ForwardINF(task, train=pool, preconditioner=kind, factors=shelf, warn=said.append)
    assert engine.influence(pool.subset([0, 5, 9])).values.tobytes() == right.tobytes()
    assert said[0].startswith("Kept curvature was not used: it does not fit the model (")
    assert shelf.kept[key].facts == kept.facts  # and was replaced


def test_kept_rows_of_another_decay_and_recipe_serve_too(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    shelf, pool, task = Shelf(), Pool.from_arrays(*blobs), ClassificationTask(classifier)
    scores(task, pool, kind="ggn", factors=shelf)
    recipe = Recipe(optimizer="sgd", weight_decay=0.1)
    found, expected = (
        ForwardINF(task, train=pool, preconditioner="ggn", recipe=recipe, factors=each)
        .influence(pool.subset([0]))
        .values
        for each in (shelf, None)
    )
    assert shelf.given == 1
    assert found.tobytes() == expected.tobytes()
