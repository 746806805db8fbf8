"""Updates against retraining, formulas against each other, and many queries against few.

    python -m benchmarks.mirror continual

On linear models of digits and of Fashion-MNIST (50 principal components), where leaving an example
out is known exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from auditkit_mirror.agreement import agreement, pearson, spearman
from auditkit_mirror.approximators import descent, influence_functions, safe_rate, tracin
from auditkit_mirror.continual import (
    SETTINGS,
    Setting,
    linear_scores,
    retrained_together,
    try_settings,
)
from auditkit_mirror.convex import Optimum, Problem, fit, with_bias
from auditkit_mirror.study import Asked, ConvexMirror, convex_mirror, highest_loss

from auditkit.progress import SILENT
from benchmarks.mirror import convex
from benchmarks.mirror.data import Name

COMPONENTS = 50
ROWS = 1_297
SIZES = (1, 4, 13, 39, 130, 390)
TRACIN_STEPS = (1.0, 0.1, 0.01, 0.001)
MORE = (
    replace(Setting("kfac"), rise=0.01),
    replace(Setting("kfac"), rise=1.0),
    replace(Setting("kfac"), rise=3.0),
    replace(Setting("none"), rise=1.0),
    replace(Setting("none"), rise=3.0),
    Setting("ggn", steps=2, replay=256),
    Setting("ggn", steps=2, replay=ROWS),
    Setting("ggn", steps=4, replay=ROWS),
)
"""Settings beside the audit's own, to see how rise, steps and replayed examples matter."""


@dataclass(frozen=True)
class Linear:
    """A linear model with both influences known."""

    optimum: Optimum
    asked: Asked
    candidates: Asked
    mirror: ConvexMirror


def linear(data: Name, folder: Path) -> Linear:
    """The model, its queries of highest loss, and all candidates."""
    problem, candidates = convex.problem(data, rows=ROWS)
    if data == "fashion":
        problem, candidates = _components(problem, candidates)
    optimum = fit(problem)
    chosen = highest_loss(optimum, candidates, convex.QUERIES)
    asked = Asked(candidates.inputs[chosen], candidates.targets[chosen])
    candidates = Asked(candidates.inputs[:500], candidates.targets[:500])
    mirror = convex_mirror(
        optimum, asked, others=candidates, folder=folder / f"continual-{data}", progress=SILENT
    )
    return Linear(optimum, asked, candidates, mirror)


def settings(found: Linear) -> Iterator[dict[str, object]]:
    """How far every setting of the engine agrees with leaving out."""
    tried = try_settings(
        found.mirror.train_to_test,
        linear_scores(found.optimum, found.asked),
        settings=(*SETTINGS, *MORE),
        retrained=found.mirror.test_to_train,
        progress=SILENT,
    )
    for each in tried:
        both = each.agreement
        yield {
            "setting": each.name,
            "failure": each.failure,
            "pearson": None if both is None else both.pearson.mean,
            "from": None if both is None else both.pearson.mean_low,
            "to": None if both is None else both.pearson.mean_high,
            "spearman": None if both is None else both.spearman.mean,
        }


def sizes(found: Linear) -> Iterator[dict[str, object]]:
    """Both directions where more and more queries are put in or unlearned at once."""
    optimum = found.optimum
    for count in SIZES:
        part = Asked(found.candidates.inputs[:count], found.candidates.targets[:count])
        truth = found.mirror.others[:count].mean(axis=0)
        formulas = influence_functions(optimum, part, together=True)
        row: dict[str, object] = {"queries": count, "share": count / optimum.problem.rows}
        for regularizer in ("scaled", "kept"):
            side = retrained_together(
                optimum, part, regularizer="kept" if regularizer == "kept" else "scaled"
            )
            row[f"retrained, regularizer {regularizer}"] = float(pearson(truth, side))
            row[f"retrained, regularizer {regularizer}, by rank"] = float(spearman(truth, side))
        for setting in (Setting("ggn"), Setting("kfac"), Setting("none")):
            scores = linear_scores(optimum, part, together=True)(setting)[0]
            row[setting.name] = float(pearson(truth, scores))
        sums = (formulas.train_to_test.mean(axis=0), formulas.test_to_train.mean(axis=0))
        row["formulas"] = float(pearson(*sums))
        yield {**row, "gap of the formulas": formulas.gap}


def formulas(found: Linear) -> dict[str, object]:
    """Both directions of influence functions and of TracIn, and against retraining."""
    optimum, asked, mirror = found.optimum, found.asked, found.mirror
    directions = influence_functions(optimum, asked)
    checkpoints = descent(optimum.problem, steps=[1, 10, 100, 1_000])
    steps = {
        f"{share:g}": tracin(
            optimum.problem, asked, checkpoints, rate=share * safe_rate(optimum.problem)
        ).gap
        for share in TRACIN_STEPS
    }
    pairs = {
        "both directions": (directions.train_to_test, directions.test_to_train),
        "against leaving out": (mirror.train_to_test, directions.train_to_test),
        "against putting in": (mirror.test_to_train, directions.test_to_train),
        "against putting in, regularizer kept": (mirror.kept, directions.test_to_train),
    }
    return {
        "gap": directions.gap,
        "tracin gap by step": steps,
        **{
            name: {
                "pearson": agreement(*pair, resamples=1).pearson.mean,
                "spearman": agreement(*pair, resamples=1).spearman.mean,
            }
            for name, pair in pairs.items()
        },
    }


def _components(problem: Problem, candidates: Asked) -> tuple[Problem, Asked]:
    """The same on the first principal components of the pixels."""
    pixels = problem.inputs[:, :-1]
    centre = pixels.mean(axis=0)
    axes = np.linalg.svd(pixels - centre, full_matrices=False)[2][:COMPONENTS].T
    inputs = with_bias((pixels - centre) @ axes)
    others = with_bias((candidates.inputs[:, :-1] - centre) @ axes)
    return replace(problem, inputs=inputs), Asked(others, candidates.targets)
