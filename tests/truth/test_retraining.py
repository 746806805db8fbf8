from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Recipe, Subject
from auditkit.errors import NonFiniteLossError, PoolError, SettingError, TaskError
from auditkit.training import LEARNING_RATES
from auditkit.truth import (
    Retraining,
    epochs_needed,
    group_influence,
    half_subsets,
    leave_one_out,
    retrain,
)
from auditkit.truth.retraining import with_rate


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().ravel() for weight in model.parameters()])


@pytest.mark.parametrize("out", [[], [3], [0, 7, 8, 39]])
def test_a_convex_model_ends_at_its_closed_form(
    regression: Retraining, ridge: object, out: list[int]
) -> None:
    expected = ridge.weights(without=out)
    dropped = retrain(regression, left_out=np.array(out, dtype=np.int64))
    assert torch.allclose(weights_of(dropped), expected, atol=1e-7)
    kept = retrain(regression, positions=np.setdiff1d(np.arange(40), out), seed=5)
    assert torch.allclose(weights_of(kept), expected, atol=1e-7)
    assert not dropped.training


def test_other_targets_are_trained_on(regression: Retraining, ridge: object) -> None:
    targets = ridge.targets.flip(0)
    model = retrain(replace(regression, targets=targets))
    expected = ridge.weights(without=[], targets=targets)
    assert torch.allclose(weights_of(model), expected, atol=1e-7)
    with pytest.raises(PoolError, match="There are 39 targets for 40 training examples"):
        retrain(replace(regression, targets=targets[1:]))


def test_the_seed_decides_everything_random(small: Retraining) -> None:
    first, again, other = (weights_of(retrain(small, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(weights_of(retrain(small)), weights_of(retrain(small, seed=0)))


def test_training_begins_from_what_fresh_gives_or_from_pretrained_weights(
    small: Retraining,
) -> None:
    still = replace(small, recipe=Recipe(optimizer="sgd", learning_rate=0.0, epochs=1))
    own = weights_of(small.task.model)
    assert not torch.equal(weights_of(retrain(still)), own)
    given = replace(still, fresh=lambda: small.task.model)
    assert torch.equal(weights_of(retrain(given)), own)
    trained = retrain(small)
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    assert torch.equal(weights_of(retrain(replace(still, pretrained=state))), weights_of(trained))
    part = {"0.weight": state["0.weight"]}
    begun = retrain(replace(still, pretrained=part))
    assert torch.equal(begun[0].weight, state["0.weight"])
    assert torch.equal(begun[3].weight, retrain(still)[3].weight)
    with pytest.raises(TaskError, match=r"'0.weight' has shape \(8, 4\) in the model and \(4, 8\)"):
        retrain(replace(still, pretrained={"0.weight": state["0.weight"].T}))


def test_a_rate_is_chosen_once_for_all_retrainings(
    small: Retraining, trainings: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from auditkit.truth import retraining

    chosen = []

    def counted(*arguments: object, **settings: object) -> Recipe:
        chosen.append(retraining_rate(*arguments, **settings))
        return chosen[-1]

    retraining_rate = retraining.with_learning_rate
    monkeypatch.setattr(retraining, "with_learning_rate", counted)
    unsaid = replace(small, recipe=replace(small.recipe, learning_rate=None))
    found = leave_one_out(unsaid, positions=[0, 1], seeds=2)
    assert len(trainings) == 6
    assert len(chosen) == 1
    assert chosen[0].learning_rate in LEARNING_RATES
    said = leave_one_out(replace(small, recipe=chosen[0]), positions=[0, 1], seeds=2)
    assert np.array_equal(found.values, said.values)
    assert with_rate(small) is small


def test_the_retraining_of_a_subject(small: Retraining) -> None:
    subject = Subject(
        task=small.task, train=small.train, queries=small.queries, recipe=small.recipe
    )
    assert torch.equal(weights_of(retrain(Retraining.of(subject))), weights_of(retrain(small)))
    assert Retraining.of(subject).asked is small.queries
    with pytest.raises(SettingError, match="There are no queries to measure"):
        leave_one_out(replace(small, queries=None), positions=[0])
    with pytest.raises(
        SettingError, match="measure is 'regret': ClassificationTask has 'loss' and"
    ):
        leave_one_out(replace(small, measure="regret"), positions=[0])


class Failing(ClassificationTask):
    """Gives a loss that is no number in its fifth batch."""

    calls = 0

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.calls += 1
        return super().loss(model, batch) / (0 if self.calls == 5 else 1)


def state_of(model: nn.Module) -> list[object]:
    """What could have changed: weights, statistics, gradients, modes and random states."""
    numbers = np.random.get_state()
    return [
        *((name, value.numpy().tobytes()) for name, value in model.state_dict().items()),
        *((weight._version, weight.requires_grad) for weight in model.parameters()),
        *(
            None if weight.grad is None else weight.grad.sum().item()
            for weight in model.parameters()
        ),
        *(module.training for module in model.modules()),
        random.getstate(),
        numbers[1].tobytes(),
        numbers[2:],
        torch.get_rng_state().numpy().tobytes(),
    ]


def leaves_groups_out(setting: Retraining) -> None:
    group_influence(setting, groups={"a": [1, 2]}, seeds=1)


@pytest.mark.parametrize(
    "act",
    [
        retrain,
        leaves_groups_out,
        lambda setting: half_subsets(setting, count=2, seeds=1),
        lambda setting: retrain(replace(setting, fresh=lambda: setting.task.model)),
        lambda setting: retrain(replace(setting, recipe=Recipe(epochs=1))),
    ],
    ids=["retrain", "groups", "halves", "fresh is the model", "rate"],
)
@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
def test_the_callers_model_and_random_states_are_as_before(
    small: Retraining, act: Callable[[Retraining], object], fails: bool
) -> None:
    model = small.task.model
    model[3].requires_grad_(requires_grad=False)
    model(torch.randn(9, 4)).sum().backward()
    model[1].eval()
    task = Failing(model) if fails else small.task
    before = state_of(model)
    if fails:
        with pytest.raises(NonFiniteLossError):
            act(replace(small, task=task))
    else:
        act(replace(small, task=task))
    assert state_of(model) == before


def test_it_trains_where_the_caller_records_no_gradients(small: Retraining) -> None:
    expected = weights_of(retrain(small))
    with torch.inference_mode():
        found = weights_of(retrain(small))
    assert torch.equal(found, expected)


def test_epochs_needed_are_those_the_model_was_trained_for(small: Retraining) -> None:
    known = replace(small, recipe=replace(small.recipe, learning_rate=0.01, epochs=6))
    before = weights_of(small.task.model)
    trained = replace(known, task=ClassificationTask(retrain(known)))
    needed = epochs_needed(trained)
    assert needed is not None
    assert 3 <= needed <= 8
    assert torch.equal(weights_of(small.task.model), before)
    assert epochs_needed(trained, most=1) is None
