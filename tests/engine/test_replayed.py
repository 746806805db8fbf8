"""Replays of the trained model beside it: how many, which, and what they are good for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, RegressionTask
from auditkit.engine import replayed
from auditkit.engine.cost import operations
from auditkit.errors import NonFiniteLossError, SettingError, TaskError
from auditkit.training import Epoch, epochs
from auditkit.truth import Retraining, half_subsets, lds

RECIPE = Recipe(optimizer="sgd", learning_rate=0.05, momentum=0.9, batch_size=20, epochs=3)


@pytest.fixture
def pool(blobs: tuple[Tensor, Tensor]) -> Pool:
    return Pool.from_arrays(*blobs)


def engine_of(classifier: nn.Module, pool: Pool, **settings: object) -> ForwardINF:
    chosen = {"recipe": RECIPE, "response": "first-order", **settings}
    return ForwardINF(ClassificationTask(classifier), train=pool, **chosen)  # type: ignore[arg-type]


def test_scores_are_the_mean_over_the_model_and_its_replays(
    classifier: nn.Module, pool: Pool
) -> None:
    queries = pool.subset([0, 1, 2])
    engine = engine_of(classifier, pool, replays=2)
    models = [one.model for one in engine._models.weighed()]
    assert len(models) == 3
    assert [one.weight for one in engine._models.weighed()] == pytest.approx([1 / 3] * 3)
    alone = [engine_of(model, pool, replays=0).influence(queries).values for model in models]
    assert np.allclose(
        engine.influence(queries).values, np.mean(alone, axis=0), rtol=1e-3, atol=1e-6
    )
    assert not np.allclose(alone[0], alone[1], rtol=0.1, atol=1e-6)
    assert not np.allclose(alone[1], alone[2], rtol=0.1, atol=1e-6)


def test_replays_share_the_weight_of_their_network(classifier: nn.Module, pool: Pool) -> None:
    engine = engine_of(
        classifier,
        pool,
        checkpoints=[classifier.state_dict()],
        checkpoint_weights=[3, 1],
        replays=1,
    )
    shares = {one.place: one.weight for one in engine._models.weighed()}
    assert shares == pytest.approx({0: 3 / 8, 1: 1 / 8, 2: 3 / 8, 3: 1 / 8})


def test_the_trained_model_can_be_asked_alone(classifier: nn.Module, pool: Pool) -> None:
    other = {name: 0.5 * weight for name, weight in classifier.state_dict().items()}
    queries = pool.subset([0, 1])
    engine = engine_of(classifier, pool, checkpoints=[other], replays=1)
    alone = engine_of(classifier, pool, replays=0).influence(queries).values
    assert not np.allclose(engine.influence(queries).values, alone, rtol=0.1, atol=1e-6)
    found = engine.alone()
    assert np.allclose(found.influence(queries).values, alone, rtol=1e-4, atol=1e-7)
    assert (found.replays, found.cost(1).finite) == (0, 1)
    again = found.averaged(1).influence(queries).values  # another model in the checkpoint's place
    expected = engine_of(classifier, pool, replays=1).influence(queries).values
    assert np.allclose(again, expected, rtol=1e-3, atol=1e-6)


def test_the_training_of_replays_is_counted(classifier: nn.Module, pool: Pool) -> None:
    state, half = classifier.state_dict(), pool.subset(range(len(pool) // 2))
    engine = engine_of(classifier, pool, checkpoints=[state], replays=2)
    assert engine.cost(1).replays == 2 * 2 * RECIPE.epochs * 3
    assert engine.cost(1, half).replays == 2 * engine.cost(1).replays
    assert engine.cost(1).finite == 6
    assert engine.averaged(0).cost(1).replays == 0


def test_replays_are_trained_once_and_by_the_seed(
    classifier: nn.Module, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: weight.clone() for name, weight in classifier.state_dict().items()}
    queries, more = pool.subset([0, 1]), pool.subset([5, 6])
    trained: list[int] = []

    def counted(*given: object, **settings: object) -> Iterator[Epoch]:
        trained.append(1)
        return epochs(*given, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(replayed, "epochs", counted)
    state = torch.get_rng_state()
    first, second = (engine_of(classifier, pool, replays=2) for _ in range(2))
    first.influence(more)
    assert torch.equal(torch.get_rng_state(), state)
    second.influence(more)  # whatever was asked before
    torch.manual_seed(5)
    assert np.array_equal(first.influence(queries).values, second.influence(queries).values)
    assert len(trained) == 4  # two by each engine
    assert all(
        torch.equal(weight, before[name]) for name, weight in classifier.state_dict().items()
    )
    other = engine_of(classifier, pool, replays=2, seed=1)
    assert not np.array_equal(first.influence(queries).values, other.influence(queries).values)


def test_auto_makes_four_in_all_or_one_of_each(classifier: nn.Module, pool: Pool) -> None:
    assert engine_of(classifier, pool).replays == 4
    four = [classifier.state_dict()] * 3
    assert engine_of(classifier, pool, checkpoints=four).replays == 1
    assert engine_of(classifier, pool, checkpoints=four * 2).replays == 1


def test_auto_makes_none_where_they_are_not_worth_it(
    classifier: nn.Module, pool: Pool, blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine_of(classifier, pool, recipe=None).replays == 0
    assert engine_of(nn.Linear(6, 3), pool).replays == 0
    values = Pool.from_arrays(blobs[0], blobs[0][:, 0])
    regression = RegressionTask(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)))
    assert ForwardINF(regression, train=values, recipe=RECIPE).replays == 0
    narrow = Pool.from_arrays(blobs[0][:, :4], blobs[1])  # which the model cannot run
    assert engine_of(classifier, narrow).replays == 0
    monkeypatch.setattr(replayed, "MOST", 100)
    assert engine_of(classifier, pool).replays == 0


class Scale(nn.Module):
    """Scales scores, by weights that nothing initializes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, scores: Tensor) -> Tensor:
        """Scaled scores."""
        return scores * self.scale


def test_weights_that_cannot_begin_anew_have_no_replays_by_default(
    classifier: nn.Module, pool: Pool
) -> None:
    scaled = nn.Sequential(*classifier, Scale())
    part = {"0.weight": torch.zeros(16, 6), "0.bias": torch.zeros(16)}
    for pretrained in (None, part):
        assert engine_of(scaled, pool, pretrained=pretrained).replays == 0
        with pytest.raises(TaskError, match="initializes"):
            engine_of(scaled, pool, replays=1, pretrained=pretrained).influence(pool.subset([0]))


def test_what_a_replay_keeps_beside_its_weights_stays_with_it(pool: Pool) -> None:
    class Counting(nn.Sequential):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
            self.register_buffer("seen", torch.zeros(()), persistent=False)

        def forward(self, inputs: Tensor) -> Tensor:
            """Class scores."""
            if self.training:
                self.seen += 1
            found: Tensor = super().forward(inputs)
            return found

    engine = engine_of(Counting(), pool, replays=1)
    own, replay = (one.model for one in engine._models.weighed())
    assert isinstance(own, Counting)
    assert isinstance(replay, Counting)
    assert float(own.seen) == 0
    assert float(replay.seen) == RECIPE.epochs * 6
    assert not replay.training


def test_fused_layers_and_many_weights_count_as_what_they_cost() -> None:
    recurrent = nn.LSTM(8, 16, batch_first=True)

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.last = recurrent, nn.Linear(16, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            """Class scores by the last state."""
            return self.last(self.cells(inputs)[0][:, -1])  # type: ignore[no-any-return]

    rng = np.random.default_rng(0)
    sequences = Pool.from_arrays(
        rng.normal(size=(10, 20, 8)).astype(np.float32), rng.integers(0, 3, 10)
    )
    task = ClassificationTask(Reading())
    assert operations(task.loss, task.model, sequences) > 2 * 20 * 4 * 16 * (8 + 16)
    drawn = Pool(Drawing(), ids=[str(place) for place in range(10)])
    state = torch.get_rng_state()
    ForwardINF(task, train=drawn, recipe=RECIPE)
    assert torch.equal(torch.get_rng_state(), state)


class Drawing:
    """Ten sequences that are drawn anew at each reading."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return torch.randn(20, 8), position % 3


def test_a_model_that_cannot_train_has_no_replays_by_default(pool: Pool) -> None:
    class Exported(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            """Class scores, in evaluation mode alone."""
            if self.training:
                raise ValueError("exported for evaluation")
            found: Tensor = super().forward(inputs)
            return found

    engine = engine_of(Exported(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), pool)
    assert engine.replays == 0
    assert np.isfinite(engine.influence(pool.subset([0])).values).all()


def test_a_recipe_that_diverges_is_told_of_as_the_replays(pool: Pool) -> None:
    wild = Recipe(optimizer="sgd", learning_rate=1e30, momentum=0.9, batch_size=20, epochs=3)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(NonFiniteLossError, match=r"A replay of the model .* replays=0"):
        engine_of(model, pool, recipe=wild).influence(pool.subset([0]))


def test_a_number_of_replays_that_is_none_is_refused(classifier: nn.Module, pool: Pool) -> None:
    for wrong in (-1, 1.5, "many", True):
        with pytest.raises(SettingError, match="replays is"):
            engine_of(classifier, pool, replays=wrong)


def test_an_engine_can_be_averaged_over_replays_and_back(classifier: nn.Module, pool: Pool) -> None:
    queries = pool.subset([0, 1])
    plain = engine_of(classifier, pool, replays=0).configured(response="products", relative=True)
    alone = plain.influence(queries).values
    averaged = plain.averaged(2)
    assert averaged.replays == 2
    assert not np.allclose(averaged.influence(queries).values, alone, rtol=0.05)
    assert np.array_equal(averaged.averaged(0).influence(queries).values, alone)
    asked = engine_of(classifier, pool, replays=2, relative=True).influence(queries).values
    assert np.allclose(averaged.influence(queries).values, asked, rtol=1e-4, atol=1e-6)


def test_replays_are_no_part_of_what_is_held_out(classifier: nn.Module, pool: Pool) -> None:
    held = [engine_of(classifier, pool, replays=count).holdout(folds=2) for count in (0, 3)]
    assert np.array_equal(held[0].outside, held[1].outside)
    assert np.array_equal(held[0].inside, held[1].inside)


def test_replays_foretell_retraining_better_than_the_model_alone(
    digits: tuple[Tensor, Tensor],
) -> None:
    inputs, labels = digits
    train, queries = (
        Pool.from_arrays(inputs[part], labels[part]) for part in (slice(0, 300), slice(300, 360))
    )
    recipe = Recipe(
        optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-3, batch_size=50,
        epochs=40, schedule="cosine",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        task = ClassificationTask(model)
        for _ in epochs(model, task, train, recipe, count=recipe.epochs):
            pass
    truth = half_subsets(
        Retraining(task=task, train=train, queries=queries, recipe=recipe), count=24, seeds=2
    )
    alone, averaged = (
        lds(
            ForwardINF(
                task, train=train, recipe=recipe, response="first-order", replays=count
            ).influence(queries),
            truth,
        ).mean
        for count in (0, 4)
    )
    assert averaged > alone + 0.02
