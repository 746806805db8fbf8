"""Memory that runs out makes batches smaller, everywhere, and changes no result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, LanguageModelTask, Pool, RegressionTask, Task
from auditkit.engine.passes import Batching, LocalExecutor
from auditkit.engine.preconditioner import Choice, make_preconditioner
from auditkit.engine.response import Response
from auditkit.errors import SettingError

MOST = 7
"""How many examples the tests' device holds."""


class Small(nn.Module):
    """A model on a device without room for many examples at once."""

    def __init__(self, model: nn.Module, *, most: int = MOST) -> None:
        super().__init__()
        self.model, self.most, self.refused = model, most, [0]

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.most:
            self.refused[0] += 1
            raise torch.OutOfMemoryError
        return self.model(inputs)


class Recurrent(nn.Module):
    """One layer that is read off, and a cell whose squares are estimated with random signs."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.RNN(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.cell(inputs)[0][:, -1])


def classes() -> tuple[Callable[[nn.Module], Task], nn.Module, Pool]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 5, 3, generator=generator)
    return ClassificationTask, Recurrent(), Pool.from_arrays(inputs, torch.arange(60) % 3)


def many_numbers() -> tuple[Callable[[nn.Module], Task], nn.Module, Pool]:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(60, 4, generator=generator), torch.randn(60, 70)
    return RegressionTask, nn.Linear(4, 70), Pool.from_arrays(inputs, targets)


@pytest.mark.parametrize("response", ["finite", "tangent", "products"])
@pytest.mark.parametrize("kind", ["none", "diagonal", "kfac", "ekfac", "ggn", "by steps"])
@pytest.mark.parametrize("make", [classes, many_numbers])
def test_scores_are_the_same_with_little_memory(
    make: Callable[[], tuple[Callable[[nn.Module], Task], nn.Module, Pool]],
    kind: str,
    response: Response,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "by steps":
        monkeypatch.setattr("auditkit.engine.preconditioner.fits", lambda *_, **__: False)
    torch.manual_seed(0)
    task, model, pool = make()
    if kind == "by steps":  # in single precision, steps of conjugate gradients magnify rounding
        rows = (torch.as_tensor(part) for part in pool.dataset.rows(np.arange(len(pool))))  # type: ignore[attr-defined]
        pool = Pool.from_arrays(*(r.double() if r.is_floating_point() else r for r in rows))
        model = model.double()
    preconditioner: Choice = "ggn" if kind == "by steps" else kind  # type: ignore[assignment]

    def scores(model: Small) -> np.ndarray:
        engine = ForwardINF(
            task(model.eval()),
            train=pool,
            preconditioner=preconditioner,
            response=response,
            measure="loss",
        )
        groups = ["one"] * 12 + [str(number) for number in range(8)]
        return engine.influence(pool.subset(range(20)), groups=groups).values

    much, little = Small(model, most=1_000), Small(model)
    expected, found = scores(much), scores(little)
    assert np.allclose(found, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99999


def test_the_curvature_itself_backs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only the passes that run before it, and make the executor's batches smaller."""
    torch.manual_seed(0)
    task, model, pool = classes()
    small = Small(model.eval())
    sizes: list[tuple[int, int]] = []
    run = Batching.over

    def watched(self: Batching, count: int, *given: object, **named: object) -> object:
        before = self.size
        yield from run(self, count, *given, **named)  # type: ignore[arg-type]
        sizes.append((before, self.size))

    monkeypatch.setattr(Batching, "over", watched)
    make_preconditioner("ekfac", task(small), small, pool, device=torch.device("cpu"))
    assert len(sizes) == 3
    assert all(before > MOST >= after for before, after in sizes)


def test_tokens_with_little_memory() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9)).eval()
    rows = torch.randint(0, 9, (40, 5), generator=torch.Generator().manual_seed(1))
    pool = Pool.from_arrays(rows, rows.roll(1, dims=0))

    def scores(most: int) -> np.ndarray:
        task = LanguageModelTask(Small(model, most=most))
        engine = ForwardINF(task, train=pool, preconditioner="ekfac", response="products")
        return engine.influence(pool.subset(range(9))).values

    assert np.allclose(scores(MOST), scores(1_000), rtol=1e-3, atol=1e-4)


def test_what_was_tried_in_vain_is_not_counted_twice() -> None:
    batching, given = Batching(8), []

    def run(where: slice) -> int:
        if where.stop - where.start > 3:
            raise torch.OutOfMemoryError
        return where.stop - where.start

    for where, found in batching.over(11, run):
        given += list(range(where.start, where.stop))
        assert found == where.stop - where.start
    assert given == list(range(11))
    assert batching.size == 2
    assert [found for _, found in batching.over(4, run, most=1)] == [1] * 4
    assert batching.size == 2


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    def run(_: slice) -> int:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Batching(8).over(4, run))


def test_a_batch_size_that_was_given_holds_for_curvature_as_well() -> None:
    torch.manual_seed(0)
    task, model, pool = classes()
    small = Small(model.eval())
    engine = ForwardINF(task(small), train=pool, preconditioner="ekfac", batch_size=4)
    engine.influence(pool.subset([0]))
    assert small.refused == [0]
    with pytest.raises(SettingError):
        LocalExecutor(device=torch.device("cpu"), batch_size=0)
