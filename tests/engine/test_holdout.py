from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Holdout, Pool, Recipe, RegressionTask, Task
from auditkit.engine.holdout import assign
from auditkit.errors import (
    NonFiniteLossError,
    ReducedLossError,
    SettingError,
    TaskError,
)
from auditkit.scores import Planted
from auditkit.training import epochs

RECIPE = Recipe(learning_rate=1e-2, batch_size=32)


@dataclass(frozen=True)
class Noisy:
    """400 digits of which 40 have a wrong label, and a model that has memorized them all."""

    pool: Pool
    labels: Tensor
    flipped: np.ndarray
    model: nn.Module

    def trained(self, *, seed: int, count: int, positions: np.ndarray | None = None) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))
        task = ClassificationTask(model)
        for _ in epochs(
            model, task, self.pool, RECIPE, count=count, positions=positions, seed=seed
        ):
            pass
        return model.eval()


@pytest.fixture(scope="module")
def noisy(digits: tuple[Tensor, Tensor]) -> Noisy:
    labels = digits[1][:400].clone()
    flipped = np.random.default_rng(0).permutation(400)[:40]
    labels[flipped] = (labels[flipped] + torch.arange(40) % 9 + 1) % 10
    empty = Noisy(Pool.from_arrays(digits[0][:400], labels), labels, flipped, nn.Identity())
    return Noisy(empty.pool, labels, flipped, empty.trained(seed=0, count=60))


@pytest.fixture(scope="module")
def engine(noisy: Noisy) -> ForwardINF:
    return ForwardINF(ClassificationTask(noisy.model), train=noisy.pool, recipe=RECIPE)


@pytest.fixture(scope="module")
def held(engine: ForwardINF) -> Holdout:
    return engine.holdout(folds=5, epochs=4)


def test_out_of_sample_losses_rank_as_by_retraining_without_each_fold(
    noisy: Noisy, held: Holdout
) -> None:
    truth = np.zeros(400)
    for fold in range(5):
        rest, out = np.flatnonzero(held.folds[0] != fold), np.flatnonzero(held.folds[0] == fold)
        for seed in (1, 2):
            model = noisy.trained(seed=seed, count=10, positions=rest)
            with torch.no_grad():
                losses = ClassificationTask(model).loss(
                    model, (noisy.pool.dataset.arrays[0][out], noisy.labels[out])
                )
            truth[out] += losses.numpy()
    found, naive = (spearmanr(values, truth)[0] for values in (held.outside, held.inside))
    assert found > 0.82  # .90 was measured, and .58 for the loss in sample
    assert found > naive + 0.15


def test_memorized_labels_show_out_of_sample(noisy: Noisy, held: Holdout) -> None:
    wrong = np.isin(np.arange(400), noisy.flipped)
    assert held.inside[wrong].mean() < 0.5
    assert held.outside[wrong].mean() > 2
    assert held.outside[~wrong].mean() < 0.8
    assert (held.outside > held.inside)[wrong].all()


def test_training_from_scratch_never_saw_the_fold(noisy: Noisy, engine: ForwardINF) -> None:
    """With labels drawn at random, whoever did not see an example can only guess."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (400,), generator=generator)
    pool = Pool.from_arrays(noisy.pool.dataset.arrays[0], labels)
    random = ForwardINF(engine.task, train=pool, recipe=RECIPE).holdout(
        folds=2, epochs=40, keep=0.0
    )
    assert random.replayed.mean() < 1.8  # it does learn what it sees
    right = random.probabilities_outside.argmax(axis=1) == labels.numpy()
    assert right.mean() < 0.17
    assert random.outside.mean() > np.log(10)


def test_every_example_is_held_out_once_per_repeat(noisy: Noisy) -> None:
    seen: list[tuple[bool, set[float]]] = []

    class Watched(ClassificationTask):
        def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            seen.append((model.training, set(batch[0][:, -1].tolist())))
            return super().outputs(model, batch)

    numbered = torch.cat([torch.zeros(60, 63), torch.arange(60.0)[:, None]], dim=1)
    pool = Pool.from_arrays(numbered, torch.arange(60) % 10)
    task = Watched(noisy.model)
    recipe = Recipe(learning_rate=1e-4, batch_size=60)
    engine = ForwardINF(task, train=pool, recipe=recipe, replays=0)
    held = engine.holdout(folds=4, epochs=1, repeats=2)
    assert held.folds.shape == (2, 60)
    assert not np.array_equal(held.folds[0], held.folds[1])
    everything = set(numbered[:, -1].tolist())
    assert seen.pop(0) == (False, everything)  # in sample
    assert len(seen) == 16
    for place in range(8):
        (training, replayed), (judging, judged) = seen[2 * place], seen[2 * place + 1]
        assert training
        assert not judging
        assert replayed | judged == everything
        assert not replayed & judged
        fold = held.folds[place // 4] == place % 4
        assert judged == set(np.flatnonzero(fold).astype(float))


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_folds_are_stratified_and_even(folds: int) -> None:
    labels = torch.tensor([0] * 50 + [1] * 21 + [2] * 3)
    assigned = assign(74, labels, folds=folds, seed=0)
    for label in range(3):
        counts = np.bincount(assigned[labels.numpy() == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(assigned, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    free = np.bincount(assign(74, None, folds=folds, seed=0), minlength=folds)
    assert free.max() - free.min() <= 1


def test_a_seed_gives_the_same_bits_and_another_one_others(
    noisy: Noisy, engine: ForwardINF, held: Holdout
) -> None:
    again = engine.holdout(folds=5, epochs=4)
    assert np.array_equal(held.outside, again.outside)
    assert np.array_equal(held.replayed, again.replayed)
    assert np.array_equal(held.folds, again.folds)
    task = ClassificationTask(noisy.model)
    other = ForwardINF(task, train=noisy.pool, recipe=RECIPE, seed=1).holdout(folds=5, epochs=4)
    assert not np.array_equal(held.folds, other.folds)
    assert np.array_equal(held.inside, other.inside)


def test_what_is_inside_is_the_trained_model_itself(noisy: Noisy, held: Holdout) -> None:
    with torch.no_grad():
        logs = noisy.model(noisy.pool.dataset.arrays[0]).log_softmax(dim=1).numpy()
    assert np.allclose(held.classes.inside, logs, atol=1e-5)
    assert np.array_equal(held.classes.targets, noisy.labels.numpy())
    assert np.allclose(held.inside, -logs[np.arange(400), noisy.labels.numpy()], atol=1e-5)
    assert np.allclose(
        held.outside, -held.classes.outside[np.arange(400), noisy.labels.numpy()], atol=1e-5
    )
    assert np.allclose(held.probabilities_outside.sum(axis=1), 1, atol=1e-5)
    assert held.ids == noisy.pool.ids


def test_checkpoints_are_averaged_in_sample(noisy: Noisy, held: Holdout) -> None:
    state = {name: torch.zeros_like(weight) for name, weight in noisy.model.state_dict().items()}
    task = ClassificationTask(noisy.model)
    found = ForwardINF(task, train=noisy.pool, recipe=RECIPE, checkpoints=[state]).holdout(
        folds=5, epochs=4
    )
    assert np.allclose(found.inside, (held.inside + np.log(10)) / 2, atol=1e-5)
    assert np.array_equal(found.outside, held.outside)


def test_replayed_is_what_training_saw(engine: ForwardINF) -> None:
    saw: dict[float, list[float]] = {}

    class Watched(ClassificationTask):
        def loss_and_outputs(
            self, model: nn.Module, batch: tuple[Tensor, Tensor]
        ) -> tuple[Tensor, Tensor]:
            loss, outputs = super().loss_and_outputs(model, batch)
            for number, value in zip(batch[0][:, -1].tolist(), loss.tolist(), strict=True):
                saw.setdefault(number, []).append(value)
            return loss, outputs

    numbered = torch.cat([torch.rand(60, 63), torch.arange(60.0)[:, None]], dim=1)
    pool = Pool.from_arrays(numbered, torch.arange(60) % 10)
    task = Watched(engine.task.model)
    held = ForwardINF(task, train=pool, recipe=Recipe(learning_rate=1e-4, batch_size=16)).holdout(
        folds=3, epochs=2, repeats=2
    )
    assert {len(values) for values in saw.values()} == {2 * 2 * 2}  # folds - 1, epochs, repeats
    expected = [np.mean(saw[float(number)]) for number in range(60)]
    assert np.allclose(held.replayed, expected, rtol=1e-5)
    own = held.classes.replayed[np.arange(60), np.arange(60) % 10]
    assert np.allclose(held.replayed, -own, rtol=1e-4, atol=1e-6)  # tables are single precision


def test_planted_labels_are_trained_on_and_never_measured_by(
    noisy: Noisy, engine: ForwardINF, held: Holdout
) -> None:
    given: list[tuple[np.ndarray, np.ndarray]] = []

    def plant(probabilities: np.ndarray, labels: np.ndarray) -> Planted:
        given.append((probabilities, labels))
        clean = np.setdiff1d(np.arange(400), noisy.flipped)[::9]
        return Planted(clean, (labels[clean] + 1) % 10)

    found = engine.holdout(folds=5, epochs=6, keep=0.0, plant=plant)
    (probabilities, labels), planted = given[0], found.classes.planted
    assert len(given) == 1
    assert np.allclose(probabilities, np.exp(held.classes.inside), atol=1e-5)
    assert np.array_equal(labels, noisy.labels.numpy())
    assert np.array_equal(found.classes.targets, noisy.labels.numpy())
    assert np.array_equal(found.inside, held.inside)
    # Out of sample the planted examples are as good as ever under their own label, and while
    # they were trained on, under a wrong one, they were as bad as the flipped ones.
    assert np.median(found.outside[planted.positions]) < 1
    assert np.median(found.replayed[planted.positions]) > 2
    plain = engine.holdout(folds=5, epochs=6, keep=0.0)
    assert np.median(plain.replayed[planted.positions]) < 1
    assert np.array_equal(plain.folds, found.folds)


def test_unlearning_raises_the_loss_of_the_fold(engine: ForwardINF) -> None:
    means = [
        float(engine.holdout(folds=4, epochs=1, keep=1.0, unlearn=rise).outside.mean())
        for rise in (0.0, 0.5, 2.0)
    ]
    assert means[0] < means[1] < means[2]


def test_keeping_everything_starts_from_the_trained_model(
    engine: ForwardINF, held: Holdout
) -> None:
    kept = engine.holdout(folds=5, epochs=1, keep=1.0)
    assert kept.replayed.mean() < 0.25 * held.replayed.mean()


def test_fresh_and_pretrained_weights_are_what_is_shrunk_toward(noisy: Noisy) -> None:
    made: list[nn.Module] = []

    def fresh() -> nn.Module:
        made.append(nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10)))
        return made[-1]

    task = ClassificationTask(noisy.model)
    ForwardINF(task, train=noisy.pool, recipe=RECIPE, fresh=fresh).holdout(folds=3, epochs=1)
    assert len(made) == 3
    zeros = {name: torch.zeros_like(weight) for name, weight in noisy.model.state_dict().items()}
    engine = ForwardINF(task, train=noisy.pool, recipe=Recipe(learning_rate=1e-9), pretrained=zeros)
    found = engine.holdout(folds=2, epochs=1, keep=0.0)
    assert np.allclose(found.outside, np.log(10), atol=1e-4)


def test_regression_is_held_out() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(120, 4), torch.randn(120)
    inputs[:, 0] = targets  # one column tells the target
    targets[7] += 5
    model = nn.Linear(4, 1)
    engine = ForwardINF(
        RegressionTask(model),
        train=Pool.from_arrays(inputs, targets),
        recipe=Recipe(learning_rate=5e-2, batch_size=16),
    )
    held = engine.holdout(folds=4, epochs=8)
    assert held.classes is None
    assert held.probabilities_outside is None
    assert held.outside.argmax() == 7
    with pytest.raises(TaskError, match="RegressionTask has no class outputs"):
        engine.holdout(plant=lambda *_: Planted(np.arange(1), np.arange(1)))


class OnlyLoss(Task):
    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def test_a_task_with_nothing_but_a_loss_is_held_out(noisy: Noisy, held: Holdout) -> None:
    engine = ForwardINF(OnlyLoss(noisy.model), train=noisy.pool, recipe=RECIPE)
    found = engine.holdout(folds=5, epochs=1)
    assert found.classes is None
    assert np.allclose(found.inside, held.inside, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"folds": 1}, {"folds": 401}, {"epochs": 0}, {"repeats": 0}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, int], engine: ForwardINF) -> None:
    with pytest.raises(SettingError, match="for 400 examples"):
        engine.holdout(**wrong)


@pytest.mark.parametrize("wrong", [{"keep": -0.1}, {"keep": 1.1}, {"unlearn": -1.0}])
def test_replays_without_meaning_are_refused(wrong: dict[str, float], engine: ForwardINF) -> None:
    with pytest.raises(SettingError, match="keep must be between 0 and 1"):
        engine.holdout(**wrong)


@pytest.mark.parametrize(("places", "labels"), [([3], [10]), ([400], [1]), ([3, 4], [1])])
def test_what_is_planted_must_fit_the_pool(
    places: list[int], labels: list[int], engine: ForwardINF
) -> None:
    planted = Planted(np.array(places), np.array(labels))
    with pytest.raises(SettingError, match="labels, 0 to 9, as positions, 0 to 399"):
        engine.holdout(epochs=1, plant=lambda *_: planted)


@pytest.mark.parametrize("untrained", [np.zeros(3, dtype=bool), np.ones(400, dtype=bool)])
def test_some_examples_must_be_left_to_train_on(untrained: np.ndarray, engine: ForwardINF) -> None:
    with pytest.raises(SettingError, match="some to train on"):
        engine.holdout(untrained=untrained)


def test_a_reduced_loss_and_a_broken_example_are_told(noisy: Noisy) -> None:
    class Reduced(OnlyLoss):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return super().loss(model, batch).mean()

    with pytest.raises(ReducedLossError):
        ForwardINF(Reduced(noisy.model), train=noisy.pool, recipe=RECIPE).holdout()
    inputs = noisy.pool.dataset.arrays[0].clone()
    inputs[11] = float("nan")
    broken = Pool.from_arrays(inputs, noisy.labels)
    with pytest.raises(NonFiniteLossError, match="'11'"):
        ForwardINF(ClassificationTask(noisy.model), train=broken, recipe=RECIPE).holdout()


def test_a_subset_is_held_out_by_itself(engine: ForwardINF, noisy: Noisy, held: Holdout) -> None:
    part = engine.holdout(noisy.pool.subset(range(50, 150)), folds=2, epochs=1)
    assert part.ids == noisy.pool.ids[50:150]
    assert np.allclose(part.inside, held.inside[50:150], atol=1e-5)


def test_untrained_examples_are_measured_and_never_replayed(noisy: Noisy) -> None:
    seen: list[tuple[bool, set[float]]] = []

    class Watched(ClassificationTask):
        def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            seen.append((model.training, set(batch[0][:, -1].tolist())))
            return super().outputs(model, batch)

    numbered = torch.cat([torch.zeros(60, 63), torch.arange(60.0)[:, None]], dim=1)
    pool, untrained = Pool.from_arrays(numbered, torch.arange(60) % 10), np.arange(60) % 7 == 0
    recipe = Recipe(learning_rate=1e-4, batch_size=60)
    engine = ForwardINF(Watched(noisy.model), train=pool, recipe=recipe, replays=0)
    held = engine.holdout(folds=3, epochs=1, untrained=untrained)
    replayed = set().union(*(numbers for training, numbers in seen if training))
    assert replayed == set(np.flatnonzero(~untrained).astype(float))
    assert np.isfinite(held.outside).all()
    assert np.array_equal(held.replayed[untrained], held.outside[untrained])
    assert not np.isclose(held.replayed[~untrained], held.outside[~untrained]).all()
    assert np.isfinite(held.classes.replayed).all()


def test_neighbours_are_others_and_mostly_of_the_same_class(
    noisy: Noisy, engine: ForwardINF, held: Holdout
) -> None:
    found = engine.holdout(folds=5, epochs=4, neighbours=6)
    assert found.neighbours is not None
    assert found.neighbours.shape == (1, 400, 6)
    assert not (found.neighbours[0] == np.arange(400)[:, None]).any()
    truth = noisy.labels.numpy().copy()
    truth[noisy.flipped] = (truth[noisy.flipped] - np.arange(40) % 9 - 1) % 10
    same = truth[found.neighbours[0]] == truth[:, None]
    assert same.mean() > 0.75
    assert same[noisy.flipped].mean() > 0.75  # a wrong label does not draw to its own class
    assert np.array_equal(found.outside, held.outside)  # looking for them changes nothing else
    assert held.neighbours is None


def test_every_repeat_has_its_neighbours(engine: ForwardINF) -> None:
    found = engine.holdout(folds=2, epochs=1, repeats=2, neighbours=3).neighbours
    assert found is not None
    assert found.shape == (2, 400, 3)
    assert not np.array_equal(found[0], found[1])


def test_neighbours_are_looked_for_in_a_sample_of_large_pools(
    engine: ForwardINF, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditkit.engine.replay.CANDIDATES", 20)
    found = engine.holdout(folds=2, epochs=1, neighbours=3)
    assert found.neighbours is not None
    for fold in range(2):
        mine = found.neighbours[0][found.folds[0] == fold]
        assert len(np.unique(mine)) <= 20


def test_neighbours_of_nobody_are_refused(engine: ForwardINF) -> None:
    with pytest.raises(SettingError, match="neighbours=-1"):
        engine.holdout(neighbours=-1)


def test_neighbours_need_features() -> None:
    pool = Pool.from_arrays(
        np.random.default_rng(0).normal(size=(20, 1, 1, 4)).astype(np.float32), np.arange(20) % 2
    )
    model = nn.Sequential(nn.Conv2d(1, 2, (1, 4)), nn.Flatten())
    engine = ForwardINF(ClassificationTask(model), train=pool, recipe=RECIPE)
    with pytest.raises(TaskError, match=r"no torch\.nn\.Linear"):
        engine.holdout(folds=2, epochs=1, neighbours=2)
