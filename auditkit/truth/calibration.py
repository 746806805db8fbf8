"""Choosing the engine's rise and damping by what retraining does.

The self-check cannot choose them: scores that find their own example may be poor otherwise. So
groups of training examples are left out, once, and every setting says what it expected of that.
The engine never calls this: it costs retrainings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn

from auditkit.errors import EngineError, SettingError
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.scores import Scores
from auditkit.truth.prediction import LDS, lds
from auditkit.truth.retraining import Retraining
from auditkit.truth.subsets import half_subsets

RISES = (0.1, 1.0, 3.0, 10.0)
"""The rises that are tried."""

DAMPINGS = (0.1, 1.0, 10.0, 100.0)
"""The dampings that are tried."""

DEFAULT = (0.1, 1.0)
"""Rise and damping of `ForwardINF` where nothing is said; kept unless another pair is better."""

_CERTAINTY = 0.95


class Scorer(Protocol):
    """What is calibrated: `auditkit.ForwardINF`, or anything else that scores."""

    def influence(self, queries: Pool, pool: Pool, /) -> Scores:
        """Influence of each example of a pool on each query."""


@dataclass(frozen=True)
class Cell:
    """How well one pair of settings predicts what was measured.

    Attributes:
        rise, damping: the settings.
        correlation: mean over queries of the Spearman correlation over removal runs between
            predicted and actual measures (as `LDS.mean`); NaN where the engine gave no scores.
        low, high: of its 95 % interval, by a bootstrap over runs and queries.
        failure: why the engine gave no scores.
    """

    rise: float
    damping: float
    correlation: float
    low: float
    high: float
    failure: str | None = None


@dataclass(frozen=True)
class Calibration:
    """The rise and damping to use, and what speaks for them.

    Attributes:
        rise, damping: the best pair if it is distinguishable from the default, else the default.
        best: the cell of the highest correlation; None where the engine gave no scores at all.
        cells: every pair that was tried, the default among them.
        advice: what was found, in words.
        runs: how many removal runs it rests on.
    """

    rise: float
    damping: float
    best: Cell | None
    cells: tuple[Cell, ...]
    advice: str
    runs: int


def calibrate(
    retraining: Retraining,
    *,
    engine: Callable[[float, float], Scorer],
    rises: Sequence[float] = RISES,
    dampings: Sequence[float] = DAMPINGS,
    default: tuple[float, float] = DEFAULT,
    budget: int = 12,
    share: float = 0.5,
    short: bool = False,
    epochs: int = 3,
    folder: Path | str | None = None,
    progress: Progress = SILENT,
) -> Calibration:
    """Choose the engine's rise and damping by predicted against actual change.

    Random groups of the train pool are left out, one per removal run, and the queries measured
    after each. Every pair of settings predicts the measures by sums of its scores. Another pair
    than the default is chosen only if its correlation is higher by more than the best of so many
    pairs would be by chance, at 95 % (by bootstrap, as in White 2000, A Reality Check for Data
    Snooping).

    The larger the groups, the clearer their effect over the noise of training: with a quarter left
    out, a dozen runs seldom tell any settings from chance.

    Args:
        retraining: what is trained, how, and what is measured on which queries.
        engine: from (rise, damping) to what scores, on the same task, train pool and measure.
        rises: to be tried.
        dampings: to be tried with each rise.
        default: the pair that is kept unless another one is better; tried too.
        budget: how many removal runs.
        share: of the train pool that is left out in each.
        short: continue from the trained model on the remaining examples, in place of training from
            scratch by the recipe. Quicker, but a few epochs undo only what is nearest to the
            gradient: settings that training from scratch tells apart can look alike.
        epochs: of such a continuation.
        folder: where finished runs are kept; a second call goes on from there.
        progress: is told of every run and every pair.

    Raises:
        SettingError: no queries, fewer than three runs, a share that leaves no example in or out,
            or `epochs` below 1.
        StoreError: the folder holds retrainings of something else, or cannot be written or read.
    """
    if budget < 3:
        raise SettingError(f"budget is {budget}: correlations over runs need three or more.")
    if short:
        retraining = _continued(retraining, epochs)
    runs = half_subsets(
        retraining, count=budget, seeds=1, share=1 - share, folder=folder, progress=progress
    )
    pairs = list(dict.fromkeys([default, *product(rises, dampings)]))
    results: list[LDS | EngineError] = []
    with progress.step("scoring settings", len(pairs)) as step:
        for rise, damping in pairs:
            try:
                scores = engine(rise, damping).influence(retraining.asked, retraining.train)
                results.append(lds(scores, runs))
            except EngineError as error:
                results.append(error)
            step.advance()
    cells = tuple(_cell(*pair, result) for pair, result in zip(pairs, results, strict=True))
    chosen, best, advice = _judged(cells, results, runs=budget)
    return Calibration(
        rise=cells[chosen].rise,
        damping=cells[chosen].damping,
        best=None if best is None else cells[best],
        cells=cells,
        advice=advice,
        runs=budget,
    )


class _Trained:
    """Gives the trained model, to be trained on: a function by a name of its own."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __call__(self) -> nn.Module:
        return self._model


def _continued(retraining: Retraining, epochs: int) -> Retraining:
    """The retraining that goes on from the trained model; rates are chosen for that, too."""
    return replace(
        retraining,
        fresh=_Trained(retraining.task.model),
        pretrained=None,
        recipe=replace(retraining.recipe, epochs=epochs),
    )


def _cell(rise: float, damping: float, result: LDS | EngineError) -> Cell:
    if isinstance(result, EngineError):
        return Cell(rise, damping, math.nan, math.nan, math.nan, failure=str(result))
    outside = (1 - _CERTAINTY) / 2
    low, high = np.quantile(result.resampled, [outside, 1 - outside])
    return Cell(rise, damping, result.mean, float(low), float(high))


def _judged(
    cells: Sequence[Cell], results: Sequence[LDS | EngineError], *, runs: int
) -> tuple[int, int | None, str]:
    """Which cell to use, which has the highest correlation, and why; the first is the default."""
    default, usable = cells[0], [place for place, cell in enumerate(cells) if cell.failure is None]
    if not usable:
        return 0, None, f"No setting gave scores; with the default: {default.failure}"
    place = max(usable, key=lambda place: cells[place].correlation)
    best, keep = cells[place], f"keep the default, {_named(default)}"
    if best.low <= 0:
        return (
            0,
            place,
            (
                f"Over {runs} runs no setting is distinguishable from chance (the best is "
                f"{_found(best)}): {keep}, and give more runs or more epochs."
            ),
        )
    if place == 0:
        return 0, place, f"The best of {len(cells)} settings is {_found(default)}: {keep}."
    against = "the default, with which the engine gives no scores"
    if default.failure is None:
        against = f"the default's {default.correlation:.2f}"
        if best.correlation - default.correlation <= _by_chance([results[at] for at in usable]):
            return (
                0,
                place,
                (
                    f"Over {runs} runs the best, {_found(best)}, is not distinguishable from "
                    f"{against}: {keep}."
                ),
            )
    beyond = (
        " It stands at the edge of what was tried: try beyond." if _at_edge(best, cells) else ""
    )
    return place, place, f"Use {_found(best)} over {runs} runs, against {against}.{beyond}"


def _by_chance(results: Sequence[LDS | EngineError]) -> float:
    """What the highest gain over the first would be in 5 % of samples if none was better."""
    samples = np.stack([each.resampled for each in results if isinstance(each, LDS)])
    gains = samples - samples[0]
    gains -= gains.mean(axis=1, keepdims=True)
    return float(np.quantile(gains.max(axis=0), _CERTAINTY))


def _at_edge(cell: Cell, cells: Sequence[Cell]) -> bool:
    """Whether a lower or higher rise or damping than any that was tried might be better still."""
    sides = (
        (cell.rise, {each.rise for each in cells}),
        (cell.damping, {each.damping for each in cells}),
    )
    return any(len(tried) > 1 and value in (min(tried), max(tried)) for value, tried in sides)


def _named(cell: Cell) -> str:
    return f"rise {cell.rise:g} and damping {cell.damping:g}"


def _found(cell: Cell) -> str:
    return (
        f"{_named(cell)}, with a correlation of {cell.correlation:.2f} "
        f"({cell.low:.2f} to {cell.high:.2f})"
    )
