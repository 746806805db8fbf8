from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool
from auditkit.batches import every
from auditkit.engine.line_search import line_search
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.update import (
    Query,
    Update,
    UpdateSettings,
    ascent,
    make_update,
    mean_gradient,
)
from auditkit.errors import NonFiniteLossError, SettingError, StepError, TaskError

CPU = torch.device("cpu")


@pytest.mark.parametrize("rise", [1e-3, 0.7, 30.0])
@pytest.mark.parametrize("guess", [1e-3, 1.0, 50.0])
def test_the_line_search_reaches_the_rise_from_any_guess(rise: float, guess: float) -> None:
    step, sought = line_search(lambda at: at**1.5, rise=rise, guess=guess, query="q")
    assert sought == rise
    assert step**1.5 == pytest.approx(rise, rel=0.05)


@pytest.mark.parametrize("guess", [0.2, 0.5, 1.0, 3.0, 9.0, 40.0])
def test_the_line_search_takes_the_first_crossing(guess: float) -> None:
    def hump(step: float) -> float:
        return 2 * math.sin(step)  # reaches 1 at .52, 2.62, 6.81 and on

    step, _ = line_search(hump, rise=1.0, guess=guess, query="q")
    assert step == pytest.approx(math.asin(0.5), rel=0.1)


def test_the_line_search_is_content_with_half_the_highest_rise() -> None:
    step, sought = line_search(math.tanh, rise=5.0, guess=5.0, query="q")
    assert sought == pytest.approx(0.5, rel=1e-6)
    assert math.tanh(step) == pytest.approx(sought, rel=0.05)


def test_the_line_search_stops_before_numbers_end() -> None:
    def breaks(step: float) -> float:
        return step if step < 0.4 else math.nan

    step, sought = line_search(breaks, rise=1.0, guess=1.0, query="q")
    assert breaks(step) == pytest.approx(sought, rel=0.05)
    assert 0.1 < sought < 0.21


def test_a_jump_over_the_rise_is_taken_just_beyond_it() -> None:
    step, sought = line_search(lambda at: 10.0 if at > 0.3 else 0.0, rise=1.0, guess=1.0, query="q")
    assert sought == 1.0
    assert 0.3 < step < 0.3001


@pytest.mark.parametrize(
    "never", [lambda _: 0.0, lambda step: -step, lambda _: math.nan, lambda _: -math.inf]
)
def test_where_nothing_rises_the_query_is_named(never: object) -> None:
    with pytest.raises(StepError, match=r"query 'q7'.*margin"):
        line_search(never, rise=1.0, guess=1.0, query="q7")


def test_an_update_raises_the_mean_measure_of_its_group(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    task, pool = ClassificationTask(classifier), Pool.from_arrays(*blobs)
    group = Pool.positions(pool, ["3", "10", "50"])
    executor = LocalExecutor(device=CPU)
    query = Query(task.loss, classifier, pool, group, executor, CPU)
    update = make_update(query, *ascent(query, dict), precondition=dict, rise=0.5)
    before = executor.measure(task.loss, classifier, pool, positions=group).mean()
    after = executor.measure(
        task.loss, classifier, pool, weights=update.moved(classifier), positions=group
    ).mean()
    assert float(after - before) == pytest.approx(0.5, rel=0.05)


def test_the_gradient_of_a_group_is_the_mean_whatever_the_batch_size(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    task, pool = ClassificationTask(classifier), Pool.from_arrays(*blobs)
    group = Pool.positions(pool, [str(position) for position in range(30)])
    expected = torch.autograd.grad(
        task.loss(classifier, (blobs[0][:30], blobs[1][:30])).mean(), classifier.parameters()
    )
    for size in (1, 7, 64):
        found = mean_gradient(task.loss, classifier, pool, group, device=CPU, batch_size=size)
        for part, wanted in zip(found.values(), expected, strict=True):
            assert torch.allclose(part, wanted, atol=1e-6)


def test_moved_weights_are_new_ones_in_the_precision_of_the_model() -> None:
    model = nn.Linear(2, 1).bfloat16()
    before = model.weight.clone()
    moved = Update({"weight": torch.ones(1, 2)}, step=0.5, rise=1.0).moved(model)
    assert torch.equal(model.weight, before)
    assert moved["weight"].dtype == torch.bfloat16
    assert torch.equal(moved["weight"], (before.float() + 0.5).bfloat16())
    assert "bias" not in moved


def test_a_saturated_loss_has_no_usable_gradient() -> None:
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-500.0], [500.0]]))
    task, pool = ClassificationTask(model), Pool.from_arrays(torch.ones(1, 1), torch.tensor([1]))
    query = Query(
        task.loss, model, pool, Pool.positions(pool, ["0"]), LocalExecutor(device=CPU), CPU
    )
    with pytest.raises(StepError, match=r"'0'.*saturated.*margin"):
        make_update(query, *ascent(query, dict), precondition=dict, rise=1.0)


def test_a_measure_that_ignores_the_model_is_refused(classifier: nn.Module) -> None:
    class Stubborn(ClassificationTask):
        def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return super().outputs(self.model, batch)

    task, pool = Stubborn(classifier), Pool.from_arrays(torch.zeros(2, 6), torch.tensor([0, 1]))
    other = nn.Sequential(nn.Linear(6, 3))
    with pytest.raises(TaskError, match=r"not `self\.model`"):
        mean_gradient(task.loss, other, pool, Pool.positions(pool, ["0"]), device=CPU)
    assert all(weight.grad is None for weight in classifier.parameters())


def test_an_example_without_a_number_is_named(classifier: nn.Module) -> None:
    inputs = torch.zeros(3, 6)
    inputs[1] = math.nan
    pool = Pool.from_arrays(inputs, torch.tensor([0, 1, 2]), ids=["a", "b", "c"])
    task = ClassificationTask(classifier)
    with pytest.raises(NonFiniteLossError, match="'b'"):
        mean_gradient(task.loss, classifier, pool, Pool.positions(pool, ["a", "b"]), device=CPU)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("descend", [False, True])
def test_the_measure_moves_as_far_as_asked_however_it_gets_there(
    steps: int, descend: bool, classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    task, pool = ClassificationTask(classifier), Pool.from_arrays(*blobs)
    group, executor = Pool.positions(pool, ["3", "10"]), LocalExecutor(device=CPU)
    query = Query(task.measure, classifier, pool, group, executor, CPU)
    settings = UpdateSettings(steps=steps, descend=descend)
    update = make_update(
        query, *ascent(query, dict), precondition=dict, rise=0.5, settings=settings
    )
    change = query.mean(update.moved(classifier)) - query.mean()
    assert change == pytest.approx(-0.5 if descend else 0.5, rel=0.05)


def test_gradients_are_taken_anew_at_every_step(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    task, pool = ClassificationTask(classifier), Pool.from_arrays(*blobs)
    query = Query(
        task.loss, classifier, pool, Pool.positions(pool, ["3"]), LocalExecutor(device=CPU), CPU
    )
    direction, slopes = ascent(query, dict)
    settings = UpdateSettings(step=0.5, steps=2)
    found = make_update(query, direction, slopes, precondition=dict, rise=1.0, settings=settings)
    once = Update(direction, 0.5, 1.0).moved(classifier)
    second = query.gradient(once)
    for name, part in found.moved(classifier).items():
        assert torch.allclose(part, once[name] + 0.5 * second[name], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"step": 0.0}, {"step": math.inf}, {"steps": 0}, {"replay": -1}])
def test_updates_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        UpdateSettings(**wrong)


def test_gradients_take_no_larger_batches_than_the_executor(classifier: nn.Module) -> None:
    pool, sizes = Pool.from_arrays(torch.randn(11, 6), torch.arange(11) % 3), []
    task = ClassificationTask(classifier)

    def watched(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        sizes.append(len(batch[1]))
        return task.loss(model, batch)

    executor = LocalExecutor(device=CPU, batch_size=4)
    found = Query(watched, classifier, pool, every(pool), executor, CPU).gradient()
    assert sizes == [4, 4, 3]
    whole = LocalExecutor(device=CPU)
    expected = Query(task.loss, classifier, pool, every(pool), whole, CPU).gradient()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in found)
