from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from auditkit import ForwardINF, Pool, Recipe, RegressionTask, Scores
from auditkit.errors import SettingError, StepError
from auditkit.truth import Retraining, Scorer, calibrate, half_subsets
from auditkit.truth.calibration import DEFAULT


@pytest.fixture(scope="module")
def uneven() -> Retraining:
    """A trained linear regression on features of very different sizes: curvature matters."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(90, 6, generator=draw).double() * torch.logspace(0.5, -1, 6).double()
    targets = inputs @ torch.logspace(-0.5, 1, 6).double() + torch.randn(90, generator=draw)
    rows = inputs[:60]
    hessian = 2 / 60 * rows.T @ rows + 1e-3 * torch.eye(6).double()
    model = nn.Linear(6, 1, bias=False).double()
    model.weight.data = torch.linalg.solve(hessian, 2 / 60 * rows.T @ targets[:60])[None]

    class Newton(torch.optim.Optimizer):
        """Steps that end at the optimum of any subset, near enough."""

        def __init__(self, weights: list[torch.Tensor]) -> None:
            super().__init__(weights, {})

        def step(self, closure: None = None) -> None:
            for weight in self.param_groups[0]["params"]:
                slope = weight.grad + 1e-3 * weight
                weight.data -= 0.7 * torch.linalg.solve(hessian, slope.T).T

    return Retraining(
        task=RegressionTask(model),
        train=Pool.from_arrays(rows, targets[:60]),
        queries=Pool.from_arrays(inputs[60:], targets[60:]),
        recipe=Recipe(optimizer=Newton, batch_size=60, epochs=25),
    )


def engine_of(retraining: Retraining) -> Callable[[float, float], Scorer]:
    def make(rise: float, damping: float) -> ForwardINF:
        return ForwardINF(retraining.task, train=retraining.train, rise=rise, damping=damping)

    return make


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_plainly_better_damping_is_chosen(uneven: Retraining, kept: Path) -> None:
    found = calibrate(
        uneven,
        engine=engine_of(uneven),
        rises=[0.01],
        dampings=[1e-4, 1e-2, 1e4],
        default=(0.01, 1e4),
        folder=kept,
    )
    assert (found.rise, found.damping) != (0.01, 1e4)
    assert found.damping <= 1e-2
    assert found.best is not None
    by_damping = {cell.damping: cell for cell in found.cells}
    assert by_damping[1e4].correlation < found.best.correlation - 0.1
    assert found.best.low < found.best.correlation < found.best.high
    assert found.advice.startswith(f"Use rise 0.01 and damping {found.damping:g}, with a corr")
    assert "against the default's" in found.advice
    assert ("edge" in found.advice) == (found.damping == 1e-4)
    assert found.runs == 12


def test_a_default_that_is_no_worse_is_kept(uneven: Retraining, kept: Path) -> None:
    found = calibrate(
        uneven,
        engine=engine_of(uneven),
        rises=[0.01, 0.02],
        dampings=[1e-4, 1e4],
        default=(0.01, 1e-3),
        folder=kept,
    )
    assert (found.rise, found.damping) == (0.01, 1e-3)
    assert len(found.cells) == 5
    assert "keep the default, rise 0.01 and damping 0.001" in found.advice


class Fixed:
    """An engine that gives the same scores whatever it is asked."""

    def __init__(self, values: np.ndarray | None) -> None:
        self.values = values

    def influence(self, queries: Pool, pool: Pool, /) -> Scores:
        if self.values is None:
            raise StepError("No step raises it.")
        step = np.ones(len(queries), np.float32)
        return Scores(self.values.astype(np.float32), queries.ids, pool.ids, step)


@pytest.fixture(scope="module")
def fitted(uneven: Retraining, kept: Path) -> np.ndarray:
    """Scores that predict the twelve runs as well as sums can."""
    runs = half_subsets(uneven, count=12, seeds=1, folder=kept)
    members = runs.members - runs.members.mean(axis=0)
    centred = runs.measures - runs.measures.mean(axis=0)
    return -np.linalg.lstsq(members, centred, rcond=None)[0].T


def calibrated(
    uneven: Retraining, kept: Path, cells: dict[tuple[float, float], np.ndarray | None]
) -> tuple[float, float, str]:
    found = calibrate(
        uneven,
        engine=lambda rise, damping: Fixed(cells[rise, damping]),
        rises=sorted({rise for rise, _ in cells}),
        dampings=sorted({damping for _, damping in cells}),
        default=(1.0, 1.0),
        folder=kept,
    )
    return found.rise, found.damping, found.advice


def test_scores_that_predict_nothing_change_nothing(uneven: Retraining, kept: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(2, 30, 60))
    rise, damping, advice = calibrated(uneven, kept, {(1.0, 1.0): noise[0], (1.0, 2.0): noise[1]})
    assert (rise, damping) == (1.0, 1.0)
    assert "no setting is distinguishable from chance" in advice


def test_a_gain_within_the_noise_changes_nothing(
    uneven: Retraining, kept: Path, fitted: np.ndarray
) -> None:
    noise = np.random.default_rng(0).normal(size=(2, *fitted.shape)) * fitted.std()
    cells = {(1.0, 1.0): fitted + 0.7 * noise[0], (1.0, 2.0): fitted + 0.7 * noise[1]}
    ends = [calibrated(uneven, kept, cells)]
    ends.append(calibrated(uneven, kept, dict(zip(cells, reversed(cells.values()), strict=True))))
    assert [end[:2] for end in ends] == [(1.0, 1.0)] * 2
    assert sum("not distinguishable from the default's" in end[2] for end in ends) == 1
    assert sum("The best of 2 settings is rise 1 and damping 1" in end[2] for end in ends) == 1


def test_settings_that_give_no_scores_are_told(
    uneven: Retraining, kept: Path, fitted: np.ndarray
) -> None:
    cells: dict[tuple[float, float], np.ndarray | None] = {(1.0, 1.0): None, (1.0, 2.0): fitted}
    rise, damping, advice = calibrated(uneven, kept, cells)
    assert (rise, damping) == (1.0, 2.0)
    assert "with which the engine gives no scores" in advice
    cells[1.0, 2.0] = None
    rise, damping, advice = calibrated(uneven, kept, cells)
    assert (rise, damping) == (1.0, 1.0)
    assert advice == "No setting gave scores; with the default: No step raises it."
    found = calibrate(
        uneven, engine=lambda *_: Fixed(None), rises=[1.0], dampings=[10.0], folder=kept
    )
    assert found.best is None
    assert [math.isnan(cell.correlation) for cell in found.cells] == [True, True]
    assert found.cells[0].failure == "No step raises it."


def test_short_runs_go_on_from_the_trained_model(uneven: Retraining) -> None:
    seen = []

    class Still(torch.optim.SGD):
        """Steps that change nothing."""

        def __init__(self, weights: list[torch.Tensor]) -> None:
            super().__init__(weights, lr=0.0)
            seen.append([weight.detach().clone() for weight in weights])

    still = replace(uneven, recipe=replace(uneven.recipe, optimizer=Still))
    engine = engine_of(uneven)
    found = calibrate(
        still, engine=engine, rises=[1.0], dampings=[10.0], budget=3, short=True, epochs=2
    )
    assert len(seen) == 3
    assert all(torch.equal(weights[0], uneven.task.model.weight) for weights in seen)
    assert [cell.correlation for cell in found.cells] == [0.0, 0.0]


def test_a_handful_of_runs_is_needed(uneven: Retraining) -> None:
    with pytest.raises(SettingError, match="budget is 2: correlations over runs need three"):
        calibrate(uneven, engine=engine_of(uneven), budget=2)


def test_the_default_is_the_engines() -> None:
    known = inspect.signature(ForwardINF).parameters
    assert (known["rise"].default, known["damping"].default) == DEFAULT
