from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool
from auditkit.engine.passes import LocalExecutor, call, common_numbers
from auditkit.errors import NonFiniteLossError, ReducedLossError, SettingError

CPU = torch.device("cpu")


@pytest.fixture
def pool(blobs: tuple[Tensor, Tensor]) -> Pool:
    return Pool.from_arrays(*blobs)


@pytest.mark.parametrize("batch_size", [1, 7, 120, 1_000])
def test_every_example_is_measured_once_in_order(
    batch_size: int, pool: Pool, classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    task = ClassificationTask(classifier)
    executor = LocalExecutor(device=CPU, batch_size=batch_size)
    with torch.no_grad():
        expected = task.loss(classifier, blobs)
    assert torch.allclose(executor.measure(task.loss, classifier, pool), expected, atol=1e-6)
    chosen = pool.positions(["7", "3", "100"])
    found = executor.measure(task.loss, classifier, pool, positions=chosen)
    assert torch.allclose(found, expected[[7, 3, 100]], atol=1e-6)


def test_exchanged_weights_are_used_and_the_model_is_not_changed(
    pool: Pool, classifier: nn.Module
) -> None:
    task, executor = ClassificationTask(classifier), LocalExecutor(device=CPU)
    before = {name: weight.clone() for name, weight in classifier.state_dict().items()}
    zeros = {"2.weight": torch.zeros(3, 16), "2.bias": torch.zeros(3)}
    found = executor.measure(task.loss, classifier, pool, weights=zeros)
    assert torch.allclose(found, torch.full((120,), 3.0).double().log())
    assert all(torch.equal(before[name], now) for name, now in classifier.state_dict().items())


def test_exchanged_weights_stay_shared() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 2), nn.Linear(2, 5, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embedding(tokens))

    model, other = Tied(), torch.randn(5, 2)
    found = call(
        lambda model, batch: model(batch), model, torch.arange(5), {"embedding.weight": other}
    )
    assert torch.allclose(found, other @ other.T)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_a_measure_is_kept_in_its_precision_or_a_better_one(
    pool: Pool, given: torch.dtype, kept: torch.dtype
) -> None:
    model, executor = nn.Linear(6, 3).to(given), LocalExecutor(device=CPU)

    def first(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        scores: Tensor = model(batch[0].to(given))
        return scores[:, 0]

    assert executor.measure(first, model, pool).dtype == kept


def test_a_reduced_loss_is_refused_with_the_way_out(pool: Pool, classifier: nn.Module) -> None:
    executor = LocalExecutor(device=CPU)
    with pytest.raises(ReducedLossError, match=r'one number for a batch of 120.*reduction="none"'):
        executor.measure(lambda model, batch: model(batch[0]).mean(), classifier, pool)
    with pytest.raises(ReducedLossError, match=r"shape \(120, 3\)"):
        executor.measure(lambda model, batch: model(batch[0]), classifier, pool)


def test_an_example_without_a_number_is_named_by_its_id(classifier: nn.Module) -> None:
    inputs = torch.zeros(300, 6)
    inputs[270, 2] = float("nan")
    pool = Pool.from_arrays(inputs, torch.zeros(300).long(), ids=[f"x{i}" for i in range(300)])
    task, executor = ClassificationTask(classifier), LocalExecutor(device=CPU, batch_size=64)
    with pytest.raises(NonFiniteLossError, match="'x270' is nan"):
        executor.measure(task.loss, classifier, pool)
    with pytest.raises(NonFiniteLossError, match="'x270'"):
        executor.log_probabilities(task, classifier, pool)


def test_log_probabilities_and_labels(
    pool: Pool, classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    executor = LocalExecutor(device=CPU, batch_size=50)
    logs, labels = executor.log_probabilities(ClassificationTask(classifier), classifier, pool)
    assert torch.equal(labels, blobs[1])
    with torch.no_grad():
        assert torch.allclose(logs, classifier(blobs[0]).log_softmax(dim=1), atol=1e-6)


MACHINE = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), MACHINE], ids=["device", "machine"])
def test_out_of_memory_halves_the_batch_until_it_fits(
    pool: Pool, classifier: nn.Module, error: Exception
) -> None:
    task, sizes = ClassificationTask(classifier), []

    def hungry(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        sizes.append(len(batch[1]))
        if len(batch[1]) > 20:
            raise error
        return task.loss(model, batch)

    executor = LocalExecutor(device=CPU, batch_size=64)
    found = executor.measure(hungry, classifier, pool)
    assert torch.allclose(found, executor.measure(task.loss, classifier, pool), atol=1e-6)
    assert sizes[:3] == [64, 32, 16]
    assert executor.batch_size == 16


def test_out_of_memory_at_one_example_is_the_callers_to_know(
    pool: Pool, classifier: nn.Module
) -> None:
    def hungry(_: nn.Module, __: tuple[Tensor, Tensor]) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        LocalExecutor(device=CPU, batch_size=4).measure(hungry, classifier, pool)


@pytest.mark.parametrize("size", [0, -5])
def test_a_batch_holds_an_example_or_more(size: int) -> None:
    with pytest.raises(SettingError, match=str(size)):
        LocalExecutor(device=CPU, batch_size=size)


def test_a_drawn_measure_differs_between_weights_by_the_weights_alone(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    """Noise a hundred times the effect: only common random numbers let it be seen."""

    class Drawn(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            value = super().loss(model, batch)
            return value + torch.rand_like(value)

    pool = Pool.from_arrays(*blobs)
    found, expected = (
        ForwardINF(task(classifier), train=pool, preconditioner="none", batch_size=50)
        .influence(pool.subset([3, 70]))
        .values
        for task in (Drawn, ClassificationTask)
    )
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_a_seed_that_waits_for_an_accelerator_stays_the_callers(pool: Pool) -> None:
    torch.manual_seed(7)
    waiting = torch.cuda._lazy_seed_tracker.manual_seed_all_cb
    for _ in range(2):
        with common_numbers(pool, np.array([0, 1])):
            first = torch.rand(2)
        with common_numbers(pool, np.array([0, 1])):
            assert torch.equal(torch.rand(2), first)
    assert torch.cuda._lazy_seed_tracker.manual_seed_all_cb is waiting
