"""What scores promise on any model: signs, invariances, checkpoints, refusals."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, RegressionTask, Task
from auditkit.errors import (
    LabelError,
    MissingOutputsError,
    NonFiniteLossError,
    NonFiniteScoreError,
    ReducedLossError,
    SettingError,
    StepError,
    TaskError,
)
from auditkit.progress import Silent, Step
from auditkit.scores import Floats, Holdout

KINDS = ["none", "adam", "diagonal", "kfac", "ekfac", "ggn"]


@pytest.fixture
def pool(blobs: tuple[Tensor, Tensor]) -> Pool:
    return Pool.from_arrays(*blobs, ids=[f"t{i}" for i in range(120)])


@pytest.fixture
def task(classifier: nn.Module) -> ClassificationTask:
    return ClassificationTask(classifier)


def close(found: np.ndarray, expected: np.ndarray, *, within: float = 1e-4) -> bool:
    """Equal up to rounding of the losses that scores are differences of."""
    return bool(np.abs(found - expected).max() <= within * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["none", "diagonal", "kfac"])
@pytest.mark.parametrize("measure", ["loss", "margin"])
def test_a_copy_is_the_first_proponent_and_a_contradiction_an_opponent(
    kind: str, measure: str, digits: tuple[Tensor, Tensor], digits_model: nn.Module
) -> None:
    inputs, labels = digits[0][:400], digits[1][:400]
    asked = torch.tensor([4, 31, 77, 101])
    train = Pool.from_arrays(
        torch.cat([inputs, inputs[asked], inputs[asked]]),
        torch.cat([labels, labels[asked], (labels[asked] + 1) % 10]),
    )
    engine = ForwardINF(
        ClassificationTask(digits_model),
        train=train,
        preconditioner=kind,
        measure=measure,
        train_measure=measure,
    )
    found = engine.influence(Pool.from_arrays(inputs[asked] + 0, labels[asked])).values
    for row, own in enumerate(asked.tolist()):
        assert found[row, own] == pytest.approx(found[row, 400 + row], rel=1e-3)
        assert found[row, own] > 0 > found[row, 404 + row]
        if kind == "kfac" and measure == "margin":  # the others prefer unusual examples
            assert found[row].argmax() in (own, 400 + row)


def test_proponents_and_opponents_are_named(task: ClassificationTask, pool: Pool) -> None:
    engine = ForwardINF(task, train=pool, train_measure="margin")
    scores = engine.influence(pool.subset([5]))
    assert scores.proponents("t5", 1)[0].train_id == "t5"
    assert scores.measure == "margin"
    assert scores.values.dtype == np.float32
    assert scores.values.shape == (1, 120)
    assert (scores.step > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_batch_size_changes_nothing(kind: str, task: ClassificationTask, pool: Pool) -> None:
    one, other = (
        ForwardINF(task, train=pool, preconditioner=kind, batch_size=size).influence(
            pool.subset([3, 70])
        )
        for size in (7, 500)
    )
    assert close(one.values, other.values)


@pytest.mark.parametrize("kind", KINDS)
def test_queries_do_not_see_each_other(kind: str, task: ClassificationTask, pool: Pool) -> None:
    engine = ForwardINF(task, train=pool, preconditioner=kind)
    together = engine.influence(pool.subset([9, 40, 3]))
    assert together.query_ids == ("t9", "t40", "t3")
    for place, row in zip([3, 9, 40], [2, 0, 1], strict=True):
        alone = ForwardINF(task, train=pool, preconditioner=kind).influence(pool.subset([place]))
        assert close(alone.values[0], together.values[row])


def test_scores_of_a_subset_are_the_same_columns(task: ClassificationTask, pool: Pool) -> None:
    engine, queries = ForwardINF(task, train=pool), pool.subset([0, 50])
    whole = engine.influence(queries)
    chosen = [100, 4, 4 + 50, 17]
    part = engine.influence(queries, pool.subset(chosen))
    assert part.train_ids == tuple(pool.ids[place] for place in chosen)
    assert close(part.values, whole.values[:, chosen])


@pytest.mark.parametrize("kind", ["none", "adam"])
def test_the_order_of_the_train_pool_changes_nothing(
    kind: str, task: ClassificationTask, pool: Pool
) -> None:
    order = np.random.default_rng(0).permutation(120)
    one = ForwardINF(task, train=pool, preconditioner=kind).influence(pool.subset([8]))
    other = ForwardINF(task, train=pool.subset(order), preconditioner=kind).influence(
        pool.subset([8])
    )
    assert close(other.values, one.values[:, order])


def test_with_curvature_the_order_of_the_train_pool_changes_only_what_is_sampled(
    task: ClassificationTask, pool: Pool
) -> None:
    order = np.random.default_rng(0).permutation(120)
    one = ForwardINF(task, train=pool).influence(pool.subset(range(8)))
    other = ForwardINF(task, train=pool.subset(order)).influence(pool.subset(range(8)))
    assert np.corrcoef(other.values.ravel(), one.values[:, order].ravel())[0, 1] > 0.8


def test_a_group_of_one_and_a_group_of_copies_are_the_query(
    task: ClassificationTask, pool: Pool, blobs: tuple[Tensor, Tensor]
) -> None:
    engine = ForwardINF(task, train=pool)
    alone = engine.influence(pool.subset([11]))
    one = engine.influence(pool.subset([11]), groups=["g"])
    inputs, labels = blobs
    copies = Pool.from_arrays(inputs[[11] * 5], labels[[11] * 5])
    five = engine.influence(copies, groups=["g"] * 5)
    assert one.query_ids == five.query_ids == ("g",)
    assert np.array_equal(one.values, alone.values)
    assert close(five.values, alone.values)


def test_groups_are_rows_in_the_order_of_their_first_query(
    task: ClassificationTask, pool: Pool
) -> None:
    engine = ForwardINF(task, train=pool)
    scores = engine.influence(pool.subset([1, 2, 3, 4]), groups=["b", "a", "b", "a"])
    assert scores.query_ids == ("b", "a")
    assert close(
        scores.values[1], engine.influence(pool.subset([2, 4]), groups=["a", "a"]).values[0]
    )
    with pytest.raises(SettingError, match="3 group names for 4 queries"):
        engine.influence(pool.subset([1, 2, 3, 4]), groups=["a", "b", "c"])


def test_the_same_seed_gives_the_same_scores_bit_for_bit(
    task: ClassificationTask, pool: Pool
) -> None:
    first, second = (
        ForwardINF(task, train=pool, seed=3, preconditioner="kfac")
        .influence(pool.subset([1]))
        .values
        for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_tasks_that_draw_numbers_are_repeatable_and_leave_random_states(
    classifier: nn.Module, pool: Pool
) -> None:
    class Noisy(ClassificationTask):
        def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            value = super().measure(model, batch)
            return value + 1e-3 * torch.rand_like(value)

    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        engine = ForwardINF(Noisy(classifier), train=pool)
        found.append(engine.influence(pool.subset([4])).values)
        assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(*found)


def test_checkpoints_are_averaged(
    task: ClassificationTask, pool: Pool, tmp_path: Path, classifier: nn.Module
) -> None:
    torch.manual_seed(1)
    states = [
        {
            name: weight + 0.1 * torch.randn_like(weight)
            for name, weight in classifier.state_dict().items()
        }
        for _ in range(2)
    ]
    torch.save(states[1], tmp_path / "second.pt")
    together = ForwardINF(task, train=pool, checkpoints=[states[0], tmp_path / "second.pt"])
    found, parts = together.influence(pool.subset([0, 9])), []
    for state in (classifier.state_dict(), *states):
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        model.load_state_dict(state)
        engine = ForwardINF(ClassificationTask(model), train=pool)
        parts.append(engine.influence(pool.subset([0, 9])))
    assert close(found.values, np.mean([part.values for part in parts], axis=0), within=1e-6)
    assert found.step == pytest.approx(np.mean([part.step for part in parts], axis=0))
    again = together.influence(pool.subset([0, 9]))
    assert np.array_equal(found.values, again.values)


def test_the_self_check_passes_on_a_trained_model(
    digits: tuple[Tensor, Tensor], digits_model: nn.Module
) -> None:
    told: list[str] = []
    train = Pool.from_arrays(digits[0][:400], digits[1][:400])
    engine = ForwardINF(ClassificationTask(digits_model), train=train, warn=told.append)
    found = engine.self_check(queries=12, candidates=300)
    assert found.passed
    assert found.top5 > 0.9
    assert not told


def test_a_self_check_of_examples_that_cannot_be_told_apart_fails_and_is_told(
    task: ClassificationTask,
) -> None:
    told: list[str] = []
    train = Pool.from_arrays(torch.zeros(50, 6), torch.zeros(50).long())
    engine = ForwardINF(task, train=train, warn=told.append)
    assert not engine.self_check(queries=4, candidates=50).passed
    assert any("self-check failed: 0% of 4" in sentence for sentence in told)


def test_a_short_rise_is_told(pool: Pool) -> None:
    told: list[str] = []

    class Bounded(ClassificationTask):
        """A measure that ends at 1."""

        def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return super().measure(model, batch).sigmoid()

    model = nn.Linear(6, 3)
    engine = ForwardINF(
        Bounded(model), train=pool, rise=5.0, warn=told.append, preconditioner="none"
    )
    engine.influence(pool.subset([0, 1]))
    assert "2 of 2 queries cannot be raised by 5" in told[0]
    engine.quiet().influence(pool.subset([0, 1]))
    assert len(told) == 1


class ReducedTask(ClassificationTask):
    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return super().loss(model, batch).mean()

    measure = loss


class StubbornTask(ClassificationTask):
    def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return super().outputs(self.model, batch)


class DetachedTask(ClassificationTask):
    def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return super().measure(model, batch).detach()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("kind_of_task", "error", "told"),
    [
        (ReducedTask, ReducedLossError, 'reduction="none"'),
        (StubbornTask, TaskError, r"not `self\.model`"),
        (DetachedTask, TaskError, "do not detach"),
    ],
)
def test_tasks_that_break_the_contract_are_told_how_to_mend_it(
    kind: str, kind_of_task: type[Task], error: type[Exception], told: str, pool: Pool
) -> None:
    engine = ForwardINF(kind_of_task(nn.Linear(6, 3)), train=pool, preconditioner=kind)
    with pytest.raises(error, match=told):
        engine.influence(pool.subset([0, 1]))


@pytest.mark.parametrize("label", [-1, 3, 700])
def test_labels_outside_the_scores_are_refused(label: int, task: ClassificationTask) -> None:
    labels = torch.zeros(10).long()
    labels[7] = label
    wrong = Pool.from_arrays(torch.zeros(10, 6), labels)
    with pytest.raises(LabelError, match=str(label)):
        ForwardINF(task, train=wrong).influence(wrong.subset([0]))


def test_a_training_example_without_a_number_is_named(task: ClassificationTask) -> None:
    inputs = torch.randn(10, 6)
    inputs[6, 0] = math.nan
    pool = Pool.from_arrays(inputs, torch.zeros(10).long(), ids=[f"row {i}" for i in range(10)])
    with pytest.raises(NonFiniteLossError, match="'row 6' is nan"):
        ForwardINF(task, train=pool, preconditioner="none").influence(pool.subset([0]))


def test_a_score_without_a_number_names_the_query() -> None:
    class Explosive(ClassificationTask):
        """A measure that ends, beside the query itself, where the weights have moved."""

        def measure(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            value = super().measure(model, batch)
            moved = bool((model.weight != self.model.weight).any())
            return value / 0 if moved and len(value) > 1 else value

    pool = Pool.from_arrays(torch.randn(20, 6), torch.arange(20) % 3)
    engine = ForwardINF(Explosive(nn.Linear(6, 3)), train=pool, train_measure="margin")
    with pytest.raises(NonFiniteScoreError, match=r"query '1'.*lower the rise"):
        engine.influence(pool.subset([1, 2]))


def test_a_saturated_query_is_named(pool: Pool) -> None:
    model = nn.Linear(6, 3)
    with torch.no_grad():
        model.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
    engine = ForwardINF(
        ClassificationTask(model), train=pool, measure="loss", preconditioner="none"
    )
    with pytest.raises(StepError, match="query 't0'"):
        engine.influence(pool.subset([0]))
    for response in ("tangent", "products"):
        other = engine.configured(measure="loss", response=response)
        assert not other.influence(pool.subset([0])).values.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rise": 0.0},
        {"rise": -1.0},
        {"rise": math.nan},
        {"rise": math.inf},
        {"damping": -1e-3},
        {"damping": math.nan},
        {"batch_size": 0},
        {"measure": "logit"},
        {"train_measure": "perplexity"},
    ],
)
def test_settings_out_of_range_are_refused(
    wrong: dict[str, object], task: ClassificationTask, pool: Pool
) -> None:
    with pytest.raises(SettingError):
        ForwardINF(task, train=pool, **wrong)


def test_a_margin_is_refused_where_there_is_none() -> None:
    pool = Pool.from_arrays(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(SettingError, match="RegressionTask has 'loss'"):
        ForwardINF(RegressionTask(nn.Linear(2, 1)), train=pool, measure="margin")


class OnlyLoss(Task):
    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        return nn.functional.cross_entropy(model(inputs), labels, reduction="none")


def test_a_task_with_nothing_but_a_loss_is_scored(classifier: nn.Module, pool: Pool) -> None:
    engine = ForwardINF(OnlyLoss(classifier), train=pool)
    scores = engine.influence(pool.subset([2]))
    assert scores.measure == "loss"
    assert scores.values[0, 2] > 0
    with pytest.raises(MissingOutputsError, match="OnlyLoss does not define `outputs`"):
        engine.task.outputs(classifier, (torch.zeros(1, 6), torch.zeros(1)))


@pytest.mark.parametrize("kind", ["none", "kfac", "ggn"])
@pytest.mark.parametrize("response", ["finite", "first-order"])
def test_relative_scores_put_a_copy_first_whatever_else_is_there(
    kind: str, response: str, digits: tuple[Tensor, Tensor], digits_model: nn.Module
) -> None:
    train = Pool.from_arrays(digits[0][:400], digits[1][:400])
    engine = ForwardINF(
        ClassificationTask(digits_model),
        train=train,
        preconditioner=kind,
        train_measure="margin",
        response=response,
        relative=True,
        rise=1e-2,
    )
    asked = list(range(0, 400, 20))
    found = engine.influence(train.subset(asked)).values
    assert found.argmax(axis=1).tolist() == asked


def test_the_published_setting_scores_saturated_queries_too(
    digits: tuple[Tensor, Tensor], digits_model: nn.Module
) -> None:
    sure = nn.Sequential(digits_model, Times(30.0))
    train = Pool.from_arrays(digits[0][:100], digits[1][:100])
    engine = ForwardINF.published(ClassificationTask(sure), train=train)
    losses = ClassificationTask(sure).loss(sure, (digits[0][:100], digits[1][:100]))
    saturated = [place for place in range(100) if losses[place] < 1e-9][:4]
    scores = engine.influence(train.subset(saturated))
    assert np.abs(scores.values).max(axis=1).min() > 0
    assert scores.step == pytest.approx(5e-3)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * inputs


@pytest.mark.parametrize("response", ["finite", "products"])
def test_a_ranking_keeps_what_the_whole_scores_say(
    response: str, task: ClassificationTask, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, queries = ForwardINF(task, train=pool, response=response), pool.subset(range(7))
    scores = engine.influence(queries)
    monkeypatch.setattr("auditkit.engine.scoring._HELD", 300)  # blocks of two queries
    ranking = engine.ranking(queries, k=5)
    for name in queries.ids:
        for kept, whole in (
            (ranking.proponents(name, 5), scores.proponents(name, 5)),
            (ranking.opponents(name, 5), scores.opponents(name, 5)),
        ):
            assert [match.train_id for match in kept] == [match.train_id for match in whole]
    assert close(ranking.mean, scores.values.mean(axis=0))
    assert close(ranking.highest, scores.values.max(axis=0))
    assert close(ranking.lowest, scores.values.min(axis=0))


def test_too_many_scores_to_hold_are_refused(
    task: ClassificationTask, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditkit.engine.collecting._MOST", 100)
    with pytest.raises(SettingError, match="use `ranking`"):
        ForwardINF(task, train=pool).influence(pool.subset([0]))


def test_where_first_order_scores_are_much_cheaper_that_is_said() -> None:
    told: list[str] = []
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    pool = Pool.from_arrays(torch.randn(48, 1, 12, 12), torch.arange(48) % 3)
    engine = ForwardINF(
        ClassificationTask(model), train=pool, preconditioner="none", warn=told.append
    )
    engine.influence(pool.subset(range(4)))
    assert not told
    engine.influence(pool)
    assert any('response="first-order"' in sentence for sentence in told)


def test_only_the_named_parameters_move(task: ClassificationTask, pool: Pool) -> None:
    seen: list[Tensor] = []

    class Watched(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            seen.append(dict(model.named_parameters()).get("0.weight", torch.zeros(())).detach())
            return super().loss(model, batch)

    found = ForwardINF(task, train=pool, parameters="2.*", preconditioner="ggn").influence(
        pool.subset([1])
    )
    assert np.isfinite(found.values).all()
    ForwardINF(Watched(task.model), train=pool, parameters="0.*|2.*").influence(pool.subset([1]))
    assert len({float(weight.sum()) for weight in seen}) > 1
    with pytest.raises(SettingError, match=r"parameters is 'head.\*'"):
        ForwardINF(task, train=pool, parameters="head.*").influence(pool.subset([1]))


def test_checkpoints_can_weigh_more_and_less(task: ClassificationTask, pool: Pool) -> None:
    other = {name: 1.1 * weight for name, weight in task.model.state_dict().items()}
    parts = []
    for weights in ([1.0, 0.0], [0.0, 2.0], [1.0, 3.0]):
        engine = ForwardINF(task, train=pool, checkpoints=[other], checkpoint_weights=weights)
        parts.append(engine.influence(pool.subset([3])).values)
    assert close(parts[2], 0.25 * parts[0] + 0.75 * parts[1])
    with pytest.raises(SettingError, match="expected 2 numbers"):
        ForwardINF(task, train=pool, checkpoints=[other], checkpoint_weights=[1.0])


def test_costs_are_counted_before_anything_runs(task: ClassificationTask, pool: Pool) -> None:
    found = ForwardINF(task, train=pool).cost(64)
    assert found.finite == 64
    assert found.tangent > 64
    assert 3 < found.products < 200
    assert found.first_order == min(found.tangent, found.products)


def test_every_block_of_queries_costs_a_pass_of_gradients(
    task: ClassificationTask, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ForwardINF(task, train=pool, response="products", preconditioner="none")
    at_once = engine.cost(10)
    moving = sum(weight.numel() for weight in task.model.parameters())
    monkeypatch.setattr("auditkit.engine.scoring._HELD_TOGETHER", 4 * max(moving, len(pool)))
    in_blocks = engine.cost(10)  # of four, four and two
    assert in_blocks.products == pytest.approx(at_once.products + 2 * 3.0)
    assert (in_blocks.finite, in_blocks.tangent) == (at_once.finite, at_once.tangent)
    steps: list[str] = []

    class Seen(Silent):
        def step(self, description: str, total: int) -> AbstractContextManager[Step]:
            steps.append(description)
            return super().step(description, total)

    watched = ForwardINF(
        task, train=pool, response="products", preconditioner="none", progress=Seen()
    )
    watched.influence(pool.subset(range(10)))
    assert steps.count("multiplying gradients") == 3


def test_held_out_pulls_weigh_margins_by_both_slopes_of_the_loss(
    task: ClassificationTask, pool: Pool
) -> None:
    recipe = Recipe(learning_rate=1e-2, batch_size=20)
    settings = {
        "train": pool, "recipe": recipe, "response": "products", "preconditioner": "none",
        "replays": 0,
    }  # fmt: skip
    engine = ForwardINF(task, pull="held-out", **settings)
    queries = pool.subset([3, 80])
    found, held = engine.influence(queries).values, engine.holdout()
    margins = ForwardINF(task, train_measure="margin", **settings).influence(queries).values
    slopes = [1 - np.exp(-held.inside), 1 - np.exp(-held.outside)]
    assert close(found, margins * np.sqrt(slopes[0] * slopes[1]))
    losses = ForwardINF(task, **settings).influence(queries).values
    assert close(margins * slopes[0], losses, within=1e-3)  # the slope of the loss by the margin
    assert engine.self_check(queries=4, candidates=20).candidates == 20


@pytest.mark.parametrize("wrong", ["subset", "measure", "regression"])
def test_held_out_pulls_are_refused_where_they_mean_nothing(
    wrong: str, task: ClassificationTask, pool: Pool
) -> None:
    if wrong == "subset":
        engine = ForwardINF(task, train=pool, pull="held-out")
        with pytest.raises(SettingError, match="train pool alone"):
            engine.influence(pool.subset([0]), pool.subset([1, 2]))
    elif wrong == "measure":
        with pytest.raises(SettingError, match="no other train_measure"):
            ForwardINF(task, train=pool, pull="held-out", train_measure="loss")
    else:
        with pytest.raises(SettingError, match="needs a task that has them"):
            ForwardINF(RegressionTask(nn.Linear(6, 1)), train=pool, pull="held-out")


def test_one_holdout_serves_every_setting_of_an_engine(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    pool, held = Pool.from_arrays(*blobs), []

    class Counting(ForwardINF):
        def holdout(self, *_: object, **__: object) -> Holdout:
            held.append(1)
            return super().holdout(folds=2, epochs=1)

    task, recipe = ClassificationTask(classifier), Recipe(learning_rate=1e-3)
    engine = Counting(task, train=pool, recipe=recipe, preconditioner="none")
    for response in ("products", "finite"):
        engine.configured(pull="held-out", response=response).influence(pool.subset([0]))
    assert held == [1]


def test_a_checkpoint_file_is_read_once(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module, tmp_path: Path
) -> None:
    path, pool = tmp_path / "earlier.pt", Pool.from_arrays(*blobs)
    torch.save(classifier.state_dict(), path)
    engine = ForwardINF(
        ClassificationTask(classifier), train=pool, checkpoints=[path], preconditioner="none"
    )
    first = engine.influence(pool.subset([0])).values
    path.unlink()
    assert np.array_equal(engine.influence(pool.subset([0])).values, first)


def test_an_example_that_is_no_number_is_named_by_the_curvature(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    inputs = blobs[0].clone()
    inputs[7] = torch.nan
    train, queries = Pool.from_arrays(inputs, blobs[1]), Pool.from_arrays(*blobs).subset([0])
    for kind in ("ggn", "ekfac", "diagonal"):
        engine = ForwardINF(ClassificationTask(classifier), train=train, preconditioner=kind)
        with pytest.raises(NonFiniteLossError, match="outputs of example '7'"):
            engine.influence(queries, queries)


@pytest.mark.parametrize("kind", ["ggn", "kfac"])
def test_weight_decay_is_curvature_where_the_optimizer_couples_it(
    kind: str, blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    pool = Pool.from_arrays(*blobs)

    def scores(optimizer: str, decay: float, preconditioner: str = kind) -> Floats:
        recipe = Recipe(optimizer=optimizer, learning_rate=1e-3, weight_decay=decay)
        engine = ForwardINF(
            ClassificationTask(classifier), train=pool, recipe=recipe, response="products",
            preconditioner=preconditioner, replays=0,
        )  # fmt: skip
        return engine.influence(pool.subset([0, 1])).values

    plain, alone = scores("sgd", 0.0), scores("sgd", 0.0, "none")
    for optimizer in ("sgd", "adam"):  # so much of it that nothing else counts
        assert np.allclose(scores(optimizer, 1e4) * 1e4, alone, rtol=1e-2, atol=1e-4)
    assert np.array_equal(scores("adamw", 1e4), plain)


def test_each_checkpoint_costs_as_much_as_the_model(
    blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    pool, state = Pool.from_arrays(*blobs), classifier.state_dict()
    one, three = (
        ForwardINF(ClassificationTask(classifier), train=pool, checkpoints=earlier).cost(10)
        for earlier in ([], [state, state])
    )
    assert three.products == pytest.approx(3 * one.products)
    assert three.tangent == pytest.approx(3 * one.tangent)
    assert three.finite == 30
