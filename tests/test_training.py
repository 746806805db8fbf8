from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool, Recipe, RegressionTask
from auditkit.errors import NonFiniteLossError, PoolError, SettingError, TaskError
from auditkit.training import (
    LEARNING_RATES,
    Epoch,
    epochs,
    evaluate,
    fit,
    make_optimizer,
    with_learning_rate,
)


@pytest.fixture
def pool() -> Pool:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(90, 4, generator=generator)
    return Pool.from_arrays(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long())


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def train(model: nn.Module, pool: Pool, recipe: Recipe, **settings: int) -> list[Epoch]:
    return list(epochs(model, ClassificationTask(model), pool, recipe, **settings))


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().ravel() for weight in model.parameters()])


def test_an_epoch_is_the_steps_one_would_write_by_hand(pool: Pool) -> None:
    model, twin = network(), network()
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.5, batch_size=90)
    found = train(model, pool, recipe, count=3)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.5)
    inputs, labels = pool.dataset.arrays
    for epoch in found:
        losses = nn.functional.cross_entropy(twin(inputs), labels, reduction="none")
        assert torch.allclose(epoch.losses, losses.detach(), atol=1e-5)
        assert epoch.log_probabilities is None
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    assert torch.allclose(weights_of(model), weights_of(twin), atol=1e-5)
    assert [epoch.number for epoch in found] == [1, 2, 3]
    assert all(weight.grad is None for weight in model.parameters())


def test_the_seed_decides_the_order_and_nothing_else_does(pool: Pool) -> None:
    recipe, ends = Recipe(learning_rate=1e-2, batch_size=16), []
    for seed, noise in ((1, 5), (1, 6), (2, 5)):
        model = network()
        torch.manual_seed(noise)
        np.random.seed(noise)
        train(model, pool, recipe, count=2, seed=seed)
        ends.append(weights_of(model))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1])],
)
def test_every_example_is_seen_once_and_none_alone(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    seen: list[list[float]] = []

    def watch(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        seen.append(batch[0][:, 0].tolist())
        return batch

    pool = Pool.from_arrays(torch.arange(20.0)[:, None], torch.zeros(20).long())
    model = nn.Linear(1, 2)
    recipe = Recipe(optimizer="sgd", learning_rate=1e-6, batch_size=batch_size, augment=watch)
    places = np.arange(5, 5 + count)
    list(epochs(model, ClassificationTask(model), pool, recipe, count=1, positions=places))
    assert [len(batch) for batch in seen] == sizes
    assert sorted(value for batch in seen for value in batch) == places.tolist()


def test_batch_norm_can_be_trained_on_any_number_of_examples(pool: Pool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    train(model, pool.subset(range(65)), Recipe(learning_rate=1e-3, batch_size=64), count=1)


def test_losses_and_probabilities_are_those_of_the_training_passes(pool: Pool) -> None:
    model = network()
    recipe = Recipe(optimizer="sgd", learning_rate=0.5, batch_size=16)
    places = np.arange(10, 60)
    (epoch,) = epochs(
        model,
        ClassificationTask(model),
        pool,
        recipe,
        count=1,
        positions=places,
        keep_probabilities=True,
    )
    assert epoch.losses.shape == (50,)
    labels = pool.dataset.arrays[1][10:60]
    assert torch.allclose(epoch.losses, -epoch.log_probabilities[range(50), labels], atol=1e-5)


def test_exchanged_targets_are_trained_on(pool: Pool) -> None:
    model = network()
    targets = 2 - pool.dataset.arrays[1]
    task = ClassificationTask(model)
    for _ in epochs(
        model, task, pool, Recipe(learning_rate=1e-2, batch_size=16), count=40, targets=targets
    ):
        pass
    with torch.no_grad():
        right = model(pool.dataset.arrays[0]).argmax(dim=1) == targets
    assert right.float().mean() > 0.9


def test_training_mode_augmentation_and_dropout_only_while_training(pool: Pool) -> None:
    modes: list[tuple[bool, bool]] = []

    class Watched(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            modes.append((model.training, bool((batch[0] == 0).all())))
            return super().loss(model, batch)

    def blank(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(batch[0]), batch[1]

    model = network()
    fit(model, Watched(model), pool, Recipe(learning_rate=1e-3, epochs=2, augment=blank))
    assert (True, True) in modes
    assert (False, False) in modes
    assert set(modes) == {(True, True), (False, False)}
    assert not model.training


def test_a_cosine_schedule_ends_at_nothing_and_a_constant_one_does_not(pool: Pool) -> None:
    def last_move(schedule: str) -> float:
        model = network()
        task, ends = ClassificationTask(model), []
        recipe = Recipe(optimizer="sgd", learning_rate=0.1, batch_size=30, schedule=schedule)
        for _ in epochs(model, task, pool, recipe, count=8):
            ends.append(weights_of(model))
        return float((ends[-1] - ends[-2]).norm() / (ends[1] - ends[0]).norm())

    assert last_move("cosine") < 0.15 < last_move("constant")


@pytest.mark.parametrize(
    ("recipe", "kind", "settings"),
    [
        (
            Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.2),
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2},
        ),
        (
            Recipe(optimizer="adam", learning_rate=0.1, weight_decay=0.2),
            torch.optim.Adam,
            {"lr": 0.1, "weight_decay": 0.2},
        ),
        (
            Recipe(learning_rate=0.1, weight_decay=0.2),
            torch.optim.AdamW,
            {"lr": 0.1, "weight_decay": 0.2},
        ),
        (
            Recipe(optimizer=lambda weights: torch.optim.RMSprop(weights, lr=0.3)),
            torch.optim.RMSprop,
            {"lr": 0.3},
        ),
    ],
)
def test_the_recipe_names_the_optimizer(
    recipe: Recipe, kind: type[torch.optim.Optimizer], settings: dict[str, float]
) -> None:
    model = network()
    model[0].requires_grad_(requires_grad=False)
    optimizer = make_optimizer(model, recipe)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in settings} == settings
    assert [id(weight) for weight in group["params"]] == [id(w) for w in model[2].parameters()]


def test_a_callable_optimizer_needs_no_rate(pool: Pool) -> None:
    recipe = Recipe(optimizer=lambda weights: torch.optim.SGD(weights, lr=0.2), epochs=15)
    model = network()
    log = fit(model, ClassificationTask(model), pool, recipe)
    assert log.held_out_accuracy is not None
    assert log.held_out_loss < 1.0


def test_what_cannot_be_trained_is_refused(pool: Pool) -> None:
    frozen = network().requires_grad_(requires_grad=False)
    with pytest.raises(TaskError, match="no trainable parameter"):
        train(frozen, pool, Recipe(learning_rate=0.1), count=1)
    with pytest.raises(SettingError, match="names no learning rate"):
        train(network(), pool, Recipe(), count=1)
    with pytest.raises(PoolError, match="no example to train on"):
        train(network(), pool, Recipe(learning_rate=0.1), count=1, positions=np.arange(0))


def test_a_task_that_ignores_the_model_trains_neither(pool: Pool) -> None:
    class Stubborn(ClassificationTask):
        def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return super().outputs(self.model, batch)

    own, given = network(), network()
    with pytest.raises(TaskError, match=r"not `self\.model`"):
        list(epochs(given, Stubborn(own), pool, Recipe(learning_rate=0.1), count=1))
    assert all(weight.grad is None for weight in (*own.parameters(), *given.parameters()))


def test_a_loss_without_a_number_names_the_example(pool: Pool) -> None:
    inputs, labels = (array.clone() for array in pool.dataset.arrays)
    inputs[33] = math.nan
    broken = Pool.from_arrays(inputs, labels, ids=[f"row {place}" for place in range(90)])
    with pytest.raises(NonFiniteLossError, match="'row 33' is nan"):
        train(network(), broken, Recipe(learning_rate=0.1, batch_size=90), count=1)


def test_a_loop_that_is_left_early_leaves_no_gradient(pool: Pool) -> None:
    model = network()
    for _ in epochs(model, ClassificationTask(model), pool, Recipe(learning_rate=0.1), count=9):
        break
    assert all(weight.grad is None for weight in model.parameters())


def test_fitting_keeps_the_best_weights_and_stops() -> None:
    """Rate so high that the held-out loss rises after a while."""
    ends: list[tuple[float, dict[str, Tensor]]] = []

    class Watched(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = super().loss(model, batch)
            if not model.training:
                ends.append((float(loss.mean()), copy.deepcopy(model.state_dict())))
            return loss

    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    noise = Pool.from_arrays(inputs, torch.arange(60) % 3)  # nothing to learn but by heart
    model = network()
    recipe = Recipe(learning_rate=3e-2, batch_size=10, epochs=60)
    log = fit(model, Watched(model), noise, recipe, held_out=0.3, patience=4)
    losses = [loss for loss, _ in ends]
    best = int(np.argmin(losses))
    assert log.epochs == best + 1
    assert log.held_out_loss == pytest.approx(losses[best])
    assert len(losses) == best + 1 + 4 < 60
    assert all(torch.equal(ends[best][1][name], now) for name, now in model.state_dict().items())


def test_what_judges_a_fit_is_never_trained_on() -> None:
    trained, judged = set(), set()

    class Watched(RegressionTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            (trained if model.training else judged).update(batch[0][:, 0].tolist())
            return super().loss(model, batch)

    pool = Pool.from_arrays(torch.arange(50.0)[:, None] / 50, torch.zeros(50))
    model = nn.Linear(1, 1)
    log = fit(model, Watched(model), pool, Recipe(learning_rate=1e-3, epochs=2), held_out=0.2)
    assert len(judged) == 10
    assert len(trained) == 40
    assert not trained & judged
    assert log.held_out_accuracy is None


def test_a_fit_is_repeatable_and_leaves_random_states(pool: Pool) -> None:
    recipe = Recipe(epochs=3)
    ends = []
    for noise in (1, 2):
        model = nn.Sequential(network(), nn.Dropout(0.3))
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        fit(model, ClassificationTask(model), pool, recipe, seed=4)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(weights_of(model))
    assert torch.equal(*ends)


@pytest.mark.parametrize("count", [2, 3, 12])
def test_small_pools_can_be_fitted(count: int, pool: Pool) -> None:
    model = network()
    log = fit(model, ClassificationTask(model), pool.subset(range(count)), Recipe(epochs=2))
    assert log.epochs in (1, 2)


def test_one_example_cannot_be_fitted(pool: Pool) -> None:
    model = network()
    with pytest.raises(PoolError, match="one example"):
        fit(model, ClassificationTask(model), pool.subset([0]), Recipe())


def test_a_rate_is_chosen_by_what_it_does(pool: Pool) -> None:
    model = network()
    before = weights_of(model)
    task = ClassificationTask(model)
    chosen = with_learning_rate(Recipe(), model, task, pool)
    assert chosen.learning_rate in LEARNING_RATES
    assert torch.equal(weights_of(model), before)
    losses = {}
    for rate in LEARNING_RATES:  # forty short steps: on an easy problem the highest is best
        trial = network()
        train(trial, pool, Recipe(learning_rate=rate), count=30)
        losses[rate] = evaluate(trial, task, pool)[0]
    assert chosen.learning_rate == min(losses, key=losses.get)
    named = Recipe(learning_rate=0.123)
    assert with_learning_rate(named, model, task, pool) is named


def test_rates_at_which_training_breaks_are_not_chosen(pool: Pool) -> None:
    class Fragile(ClassificationTask):
        """Has no loss where the weights have moved far."""

        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            far = (weights_of(model) - start).abs().max() > limit
            return super().loss(model, batch) * (math.nan if far else 1)

    model, limit = network(), 0.03
    start = weights_of(model)
    assert with_learning_rate(Recipe(), model, Fragile(model), pool).learning_rate == 3e-4
    limit = 0.0
    with pytest.raises(NonFiniteLossError):
        with_learning_rate(Recipe(), model, Fragile(model), pool)


def test_evaluation_is_the_mean_loss_and_the_share_of_right_answers(pool: Pool) -> None:
    model = network()
    inputs, labels = pool.dataset.arrays
    with torch.no_grad():
        scores = model(inputs)
    for size in (7, 256):
        loss, accuracy = evaluate(model, ClassificationTask(model), pool, batch_size=size)
        assert loss == pytest.approx(float(nn.functional.cross_entropy(scores, labels)), rel=1e-5)
        assert accuracy == pytest.approx(float((scores.argmax(dim=1) == labels).float().mean()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"epochs": 0},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"weight_decay": -0.1},
        {"momentum": math.inf},
    ],
)
def test_a_recipe_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="recipe"):
        Recipe(**wrong)


def test_training_works_where_the_caller_records_no_gradients(pool: Pool) -> None:
    ends = []
    for mode in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        model = network()
        with mode:
            fit(model, ClassificationTask(model), pool, Recipe(epochs=2))
        ends.append(weights_of(model))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


class Watched(ClassificationTask):
    """Keeps the first feature of every batch it trains on."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.seen.append(batch[0][:, 0].tolist())
        return super().loss(model, batch)


def batches_of(pool: Pool, *, batch_size: int, **settings: np.ndarray | int) -> list[list[float]]:
    task = Watched(network())
    task.seen = []
    recipe = Recipe(learning_rate=1e-2, batch_size=batch_size)
    list(epochs(task.model, task, pool, recipe, count=2, **settings))
    return task.seen


def test_examples_left_out_are_taken_out_of_their_batches(pool: Pool) -> None:
    out = np.array([4, 60])
    gone = {float(pool[place][0][0]) for place in out}
    whole = batches_of(pool, batch_size=16)
    found = batches_of(pool, batch_size=16, left_out=out)
    assert found == [[each for each in batch if each not in gone] for batch in whole]
    recipe = Recipe(learning_rate=1e-2, batch_size=16)
    for epoch in train(network(), pool, recipe, count=1, left_out=out, keep_probabilities=True):
        assert torch.isnan(epoch.losses).nonzero()[:, 0].tolist() == out.tolist()
        assert torch.isnan(epoch.log_probabilities[:, 0]).nonzero()[:, 0].tolist() == out.tolist()


def test_batches_that_stay_keep_their_learning_rates(pool: Pool) -> None:
    rates: list[tuple[float, float]] = []

    class Rated(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            rates.append((float(batch[0][0, 0]), self.optimizer.param_groups[0]["lr"]))
            return super().loss(model, batch)

    def taken(left_out: np.ndarray | None) -> list[tuple[float, float]]:
        rates.clear()
        task = Rated(network())

        def make(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
            task.optimizer = torch.optim.SGD(weights, lr=0.1)
            return task.optimizer

        recipe = Recipe(optimizer=make, batch_size=1, schedule="cosine")
        list(epochs(task.model, task, pool, recipe, count=2, left_out=left_out))
        return list(rates)

    out = np.arange(0, 90, 3)
    gone = {float(pool[place][0][0]) for place in out}
    assert taken(out) == [own for own in taken(None) if own[0] not in gone]
    steps = np.arange(180)
    assert [rate for _, rate in taken(None)] == pytest.approx(
        0.05 * (1 + np.cos(np.pi * steps / 180))
    )


@pytest.mark.parametrize("stays", [[0, 1, 2], [7], list(range(40))])
def test_no_example_is_alone_in_its_batch_where_others_were_left_out(
    pool: Pool, stays: list[int]
) -> None:
    out = np.setdiff1d(np.arange(90), stays)
    found = batches_of(pool, batch_size=2, left_out=out)
    assert sum(map(len, found)) == 2 * len(stays)
    assert all(len(batch) > 1 for batch in found) or len(stays) == 1


def test_batches_of_one_stay_batches_of_one(pool: Pool) -> None:
    assert {len(batch) for batch in batches_of(pool, batch_size=1, left_out=np.arange(5))} == {1}


def test_leaving_all_out_is_refused(pool: Pool) -> None:
    with pytest.raises(PoolError, match="all at `positions` are left out"):
        train(network(), pool, Recipe(learning_rate=1e-2), count=1, left_out=np.arange(90))
