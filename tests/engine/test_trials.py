"""What torch would end in an error of its own is said in a sentence, before anything is scored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, Task
from auditkit.batches import collate, every
from auditkit.errors import AuditkitError, PoolError, ReducedLossError, SettingError, TaskError

INPUTS = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


def engine(
    model: nn.Module | None = None, pool: Pool | None = None, **settings: object
) -> ForwardINF:
    torch.manual_seed(0)
    task = ClassificationTask(nn.Linear(6, 3) if model is None else model)
    return ForwardINF(task, train=pool or Pool.from_arrays(INPUTS, LABELS), **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"preconditioner": "kfca"}, "preconditioner is 'kfca': did you mean 'kfac'"),
        ({"response": "finit"}, "response is 'finit': did you mean 'finite'"),
        ({"pull": "heldout"}, "pull is 'heldout': did you mean 'held-out'"),
        ({"measure": "margn"}, "measure is 'margn'"),
        ({"rise": "0.1"}, "rise is '0.1': it must be a number"),
        ({"rise": float("nan")}, "rise is nan"),
        ({"damping": "1"}, "damping is '1'"),
        ({"damping": -1.0}, "damping is -1.0"),
        ({"device": "foo"}, "device 'foo' cannot be used here"),
    ],
)
def test_settings_are_checked_at_once(settings: dict[str, object], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        engine(**settings)


def test_a_recipe_is_checked_at_once() -> None:
    with pytest.raises(SettingError, match="optimizer is 'adamx': did you mean 'adam"):
        Recipe(optimizer="adamx")
    with pytest.raises(SettingError, match="schedule is 'cosin': did you mean 'cosine'"):
        Recipe(schedule="cosin")


@pytest.mark.parametrize("k", [1.5, 0, "3"])
def test_a_ranking_keeps_a_whole_number(k: object) -> None:
    with pytest.raises(SettingError, match=r"k is .* whole number"):
        engine().ranking(Pool.from_arrays(INPUTS[:2], LABELS[:2]), k=k)


class Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"scores": self.layer(inputs)}


class Named(Mapped):
    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"logits": self.layer(inputs)}


def unsteady() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False))


ragged = Pool([(INPUTS[place, : 3 + 3 * (place % 2)], 1) for place in range(12)])

REFUSED: dict[str, tuple[Callable[[], object], type[AuditkitError], str]] = {
    "other width": (
        lambda: engine().influence(Pool.from_arrays(INPUTS[:2, :5], LABELS[:2])),
        TaskError,
        "cannot be run on example '0' of the queries",
    ),
    "whole numbers": (
        lambda: engine().influence(Pool.from_arrays(INPUTS[:2].int(), LABELS[:2])),
        TaskError,
        "cannot be run on example '0' of the queries",
    ),
    "ragged": (
        lambda: engine(pool=ragged).influence(ragged),
        TaskError,
        "cannot be run on example '0' of the train pool",
    ),
    "a dictionary": (
        lambda: engine(Mapped()).influence(Pool.from_arrays(INPUTS[:2], LABELS[:2])),
        TaskError,
        "gives a dict: expected a tensor",
    ),
    "texts as labels": (
        lambda: engine(pool=Pool([(row, "cat") for row in INPUTS])).influence(
            Pool.from_arrays(INPUTS[:2], LABELS[:2])
        ),
        TaskError,
        "targets that are no numbers .'cat' is the first",
    ),
    "no module": (
        lambda: ForwardINF(ClassificationTask("model"), train=ragged),
        TaskError,
        "model is a str: expected a torch.nn.Module",
    ),
    "statistics of the batch": (
        lambda: engine(unsteady()).influence(Pool.from_arrays(INPUTS[:2], LABELS[:2])),
        TaskError,
        "keeps no running statistics",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_said_in_a_sentence(name: str) -> None:
    run, kind, told = REFUSED[name]
    with pytest.raises(kind, match=told):
        run()


def test_items_that_cannot_be_stacked_are_named() -> None:
    with pytest.raises(PoolError, match=r"'0' to '11' do not make a batch.*pad"):
        collate(ragged, every(ragged), device=torch.device("cpu"))


def test_a_mapping_with_logits_is_taken() -> None:
    queries = Pool.from_arrays(INPUTS[:2], LABELS[:2])
    assert engine(Named()).influence(queries).values.shape == (2, 12)


def test_a_mean_over_the_batch_is_no_loss_of_each() -> None:
    class Mean(Task):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return functional.cross_entropy(model(batch[0]), batch[1]).expand(len(batch[1]))

    class Constant(Task):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            return model(batch[0]).sum(dim=1) * 0 + model.weight.sum()

    pool = Pool.from_arrays(INPUTS, LABELS)
    with pytest.raises(ReducedLossError, match=r"for each of 4 examples and .* alone"):
        ForwardINF(Mean(nn.Linear(6, 3)), train=pool).influence(pool.subset([0]))
    same = ForwardINF(Constant(nn.Linear(6, 3)), train=pool, preconditioner="none")
    assert same.influence(pool.subset([0])).values.all()
