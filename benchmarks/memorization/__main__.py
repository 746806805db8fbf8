"""Memorization on Fashion-MNIST, against models trained without each example.

    python -m benchmarks.memorization --out benchmarks/results/memorization.json

2,000 images with a tenth of the labels flipped, a small network trained until it knows them by
heart, and 200 trainings on random halves as ground truth, kept in `--cache`. Times are seconds on
the processor, one thread. Finished seeds are kept in the output file.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import torch
from auditkit_memorization import MemorizationAudit
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

import auditkit
from benchmarks.memorization import baselines
from benchmarks.memorization.truth import (
    RECIPE,
    Memorization,
    Problem,
    Values,
    ground_truth,
    memorization,
    network,
    problem,
)

T = TypeVar("T")
MEMORIZED = 0.5
AUDIT, QUICK = "auditkit memorization", "auditkit memorization --retrainings 0"
CROSSED = "5-fold retraining"
TARGETS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass
class Cell:
    """One seed: figures by score, seconds, and what was promised."""

    facts: dict[str, float] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    promises: dict[str, list[float]] = field(default_factory=dict)
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)

    def score(self, name: str, values: Values, true: Values) -> None:
        """Note how a score ranks the examples, and finds those memorized."""
        self.scores[name] = {
            "spearman": float(spearmanr(values, true)[0]),
            "ap": float(average_precision_score(true > MEMORIZED, values)),
        }


def run_cell(seed: int, *, models: int, cache: Path) -> Cell:
    """Train, score by every method, and compare with the ground truth."""
    cell, given = Cell(), problem(seed)
    halves = ground_truth(given, models=models, folder=cache / f"truth-{seed}")
    true = memorization(halves)
    parts = [memorization(halves, slice(start, None, 2)) for start in (0, 1)]
    state_truth(cell, given, true, parts, models)
    trained = timed(cell, "training the audited model", lambda: baselines.train(given))
    for name, work in (
        ("training loss", baselines.training_loss),
        ("gradient norm", baselines.gradient_norm),
        ("TracIn self-influence, 10 checkpoints", baselines.self_influence),
    ):
        cell.score(name, timed(cell, name, lambda w=work: w(given, trained)), true.values)
    cell.score(
        "mean loss over training epochs (needs history)", trained.losses.mean(0), true.values
    )
    score_audits(cell, given, trained, true)
    score_retrainings(cell, given, true, cache)
    return cell


def state_truth(
    cell: Cell, given: Problem, true: Memorization, parts: list[Memorization], models: int
) -> None:
    """What the ground truth is, and how well it knows itself."""
    top, wrong = true.values > MEMORIZED, given.data.wrong
    first, second = (part.values for part in parts)
    between = float(spearmanr(first, second)[0])
    cell.facts = {
        "models": models,
        "memorized over .5": float(top.sum()),
        "of them flipped": float((top & wrong).sum()),
        "right with the example": float(true.with_it.mean()),
        "right without": float(true.without.mean()),
        "ceiling: spearman of two halves of the truth": between,
        "ceiling: spearman of a perfect score": float(np.sqrt(2 * between / (1 + between))),
        "ceiling: ap of one half of the truth for the other": float(
            average_precision_score(first > MEMORIZED, second)
        ),
    }


def score_audits(
    cell: Cell, given: Problem, trained: baselines.Trained, true: Memorization
) -> None:
    """The audit as it comes, and without trainings from scratch."""
    subject = auditkit.Subject(
        task=trained.task,
        train=given.pool,
        recipe=RECIPE,
        fresh=lambda: network(int(torch.randint(2**31, (1,)))),
    )
    for name, settings in ((AUDIT, {}), (QUICK, {"retrainings": 0})):
        findings = timed(cell, name, lambda s=settings: audit(subject, given.seed, s))
        frame = findings.frame.sort(findings.frame["example_id"].cast(int))
        score = frame["score"].to_numpy()
        cell.score(name, score, true.values)
        cell.scores[name]["mean absolute error"] = float(np.abs(score - true.values).mean())
        cell.scores[name]["bias"] = float((score - true.values).mean())
        if name == AUDIT:
            judge(cell, frame, given, true)


def audit(subject: auditkit.Subject, seed: int, settings: dict[str, int]) -> auditkit.Findings:
    """The findings of the audit, report and all."""
    with tempfile.TemporaryDirectory() as folder:
        run = auditkit.run(MemorizationAudit, subject, out=folder, seed=seed, settings=settings)
        return run.findings


def judge(cell: Cell, frame: object, given: Problem, true: Memorization) -> None:
    """Whether probabilities and verdicts hold."""
    import polars as pl

    if not isinstance(frame, pl.DataFrame):
        raise TypeError("The findings are a frame.")
    top, wrong = true.values > MEMORIZED, given.data.wrong
    probability = frame["probability"].to_numpy()
    cell.facts["estimated / true number memorized"] = float(probability.sum() / top.sum())
    for target in TARGETS:
        near = np.abs(probability - target) <= 0.1
        cell.promises[f"{target:g}"] = [float(near.sum()), float(top[near].sum())]
    verdict = frame["verdict"].to_numpy()
    for name in ("mislabelled", "rare but right", "learnt", "not fitted"):
        cell.verdicts[name] = {
            "all": int((verdict == name).sum()),
            "flipped": int(wrong[verdict == name].sum()),
            "memorized": int(top[verdict == name].sum()),
        }
    doubt = frame["wrong_label_probability"].to_numpy()
    cell.facts["auroc of flips among memorized"] = float(roc_auc_score(wrong[top], doubt[top]))


def score_retrainings(cell: Cell, given: Problem, true: Memorization, cache: Path) -> None:
    """What costs more: five folds trained anew, and more halves."""
    doubt, errs = timed(cell, CROSSED, lambda: baselines.cross_validated(given))
    cell.score(f"{CROSSED}, probability", doubt, true.values)
    cell.score(f"{CROSSED}, error", errs, true.values)
    for count in (4, 8):
        counted, soft = baselines.few_halves(
            given, models=count, folder=cache / f"few-{given.seed}"
        )
        cell.score(f"{count} retrained halves, counted", counted, true.values)
        cell.score(f"{count} retrained halves, probability", soft, true.values)


def timed(cell: Cell, name: str, work: Callable[[], T]) -> T:
    """Do the work and note its seconds on the processor, which other work delays less."""
    start = time.process_time()
    result = work()
    cell.seconds[name] = time.process_time() - start
    return result


def table(cells: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """The scores as markdown, a row each, by seed."""
    lines = ["| score | Spearman | AP, memorized over .5 | seconds |", "|---|---|---|---|"]
    every = list(cells.values())
    for name in every[0]["scores"]:
        mine = [cell["scores"][name] for cell in every]
        key = CROSSED if name.startswith(CROSSED) else name
        took = [cell["seconds"][key] for cell in every if key in cell["seconds"]]
        seconds = f"{np.mean(took):.1f}" if took else ""
        values = (", ".join(f"{each[what]:.3f}" for each in mine) for what in ("spearman", "ap"))
        lines.append(f"| {name} | {' | '.join(values)} | {seconds} |")
    return "\n".join(lines)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/memorization.json")
)
@click.option("--seeds", default="0")
@click.option("--models", default=200)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path(tempfile.gettempdir()) / "auditkit-memorization",
)
def main(out: Path, seeds: str, models: int, cache: Path) -> None:
    """Run the seeds that are missing in the output file and print the table."""
    torch.set_num_threads(1)
    cells = json.loads(out.read_text())["cells"] if out.exists() else {}
    for seed in map(int, seeds.split(",")):
        if str(seed) not in cells:
            cells[str(seed)] = vars(run_cell(seed, models=models, cache=cache))
            out.parent.mkdir(parents=True, exist_ok=True)
            facts = {"date": time.strftime("%Y-%m-%d"), "torch": torch.__version__, "threads": 1}
            out.write_text(json.dumps({**facts, "cells": cells}, indent=1))
    click.echo(table(cells))


if __name__ == "__main__":
    main()
