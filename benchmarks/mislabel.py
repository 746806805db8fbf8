"""Mislabel detection on Fashion-MNIST: every score side by side, in one run.

    python -m benchmarks.mislabel --out benchmarks/results/mislabel.json
    python -m benchmarks.mislabel --regimes B --seeds 0

For each regime and seed one CNN is trained on partly wrong labels and audited by every method.
Cross-validation retrains that network for the same number of epochs, five times. Times are
seconds on the processor, in one thread by default. Finished cells are kept in the output file and
not computed again.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

import auditkit
from auditkit.batches import collate
from auditkit.training import epochs
from benchmarks.fashion import RECIPE, REGIMES, Labelled, Regime, flipped, new_cnn, task
from benchmarks.mislabel_influence import SELF, influence_scores
from benchmarks.mislabel_tables import CROSSED, TARGETS, table

T = TypeVar("T")
FOLDS = 5


@dataclass
class Cell:
    """One regime and seed: average precision and seconds by method, and the audit's promises."""

    ap: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    promises: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)

    def score(
        self, name: str, values: npt.NDArray[np.floating], wrong: npt.NDArray[np.bool_]
    ) -> None:
        """Note the average precision of a score that is higher for worse examples."""
        self.ap[name] = float(average_precision_score(wrong, values))


@dataclass
class Trained:
    """The audited model and what its training left behind: loss and margin, [epoch, example]."""

    task: auditkit.ClassificationTask
    losses: npt.NDArray[np.float32]
    margins: npt.NDArray[np.float32]


def run_cell(regime: Regime, seed: int) -> Cell:
    """Train, audit by every method, and compare with the truth."""
    cell, data = Cell(), flipped(regime, seed=seed)
    trained = timed(cell, "training the audited model", lambda: train(regime, data, seed))
    score_peers(cell, trained, regime, data, seed)
    score_influence(cell, trained, data)
    score_audits(cell, trained.task, data, seed)
    return cell


def refresh_cell(cell: Cell, regime: Regime, seed: int) -> None:
    """Measure auditkit again on the same data and model; the peers' scores stay as they were.

    The time to compare with is taken beside: five times that of one fold of cross-validation.
    """
    data = flipped(regime, seed=seed)
    trained, again = train(regime, data, seed), Cell()
    if SELF not in cell.ap:
        score_influence(again, trained, data)
    score_audits(again, trained.task, data, seed)
    timed(again, CROSSED, lambda: cross_validate(regime, data, seed, folds=1))
    again.seconds[CROSSED] *= FOLDS
    cell.ap |= again.ap
    cell.seconds |= again.seconds
    cell.promises = again.promises


def score_peers(cell: Cell, trained: Trained, regime: Regime, data: Labelled, seed: int) -> None:
    """All scores but auditkit's own."""
    given = data.given
    inside = probabilities(trained.task.model, data.images)
    rows = np.arange(len(given))
    cell.facts["flips fitted"] = float((inside.argmax(1) == given)[data.wrong].mean())
    cell.score("training loss", -np.log(inside[rows, given] + 1e-30), data.wrong)
    cell.score("mean loss over training epochs (needs history)", trained.losses.mean(0), data.wrong)
    cell.score("AUM (needs history)", -trained.margins.mean(0), data.wrong)
    crossed = timed(cell, CROSSED, lambda: cross_validate(regime, data, seed))
    score_cleanlab(cell, crossed, data)


def score_influence(cell: Cell, trained: Trained, data: Labelled) -> None:
    """The two of captum, timed together."""
    found = timed(cell, "captum, both", lambda: influence_scores(trained.task.model, data))
    for name, values in found.items():
        cell.score(name, values, data.wrong)


def score_audits(cell: Cell, own: auditkit.ClassificationTask, data: Labelled, seed: int) -> None:
    """The audit as it comes, and the thorough one."""
    for name, thorough in (("auditkit", False), ("auditkit --thorough", True)):
        findings = timed(cell, name, lambda t=thorough: audit(own, data, seed, thorough=t))
        judge(cell, name, findings, data)


def train(regime: Regime, data: Labelled, seed: int) -> Trained:
    """The audited model, with the history that two of the baselines need."""
    own = task(seed)
    losses, margins = [], []
    passes = epochs(own.model, own, data.pool, RECIPE, count=regime.epochs, seed=seed)
    for epoch in passes:
        losses.append(epoch.losses.numpy())
        margins.append(margin(own.model, data))
    own.model.eval()
    return Trained(own, np.array(losses), np.array(margins))


def cross_validate(
    regime: Regime, data: Labelled, seed: int, *, folds: int = FOLDS
) -> npt.NDArray[np.float32]:
    """Out-of-sample probabilities by full retrainings, [example, class]; zero after `folds`."""
    result = np.zeros((len(data.given), 10), dtype=np.float32)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    splits = splitter.split(data.given, data.given)
    for fold, (rest, held) in enumerate(islice(splits, folds)):
        own = task(100 + seed * FOLDS + fold)
        for _ in epochs(
            own.model, own, data.pool, RECIPE, count=regime.epochs, positions=rest, seed=seed
        ):
            pass
        result[held] = probabilities(own.model, data.images[held])
    return result


def score_cleanlab(cell: Cell, crossed: npt.NDArray[np.float32], data: Labelled) -> None:
    """The two scores of cleanlab on cross-validated probabilities, and how many it finds."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    for method in ("self_confidence", "normalized_margin"):
        quality = get_label_quality_scores(data.given, crossed, method=method)
        cell.score(f"cleanlab, 5-fold, {method.replace('_', ' ')}", -quality, data.wrong)
    found = find_label_issues(data.given, crossed, n_jobs=1)
    cell.facts["found by cleanlab / truth"] = float(found.sum() / data.wrong.sum())


def audit(
    own: auditkit.ClassificationTask, data: Labelled, seed: int, *, thorough: bool
) -> auditkit.Findings:
    """The findings of the mislabel audit, report and all."""
    subject = auditkit.Subject(task=own, train=data.pool, recipe=RECIPE, fresh=new_cnn)
    with tempfile.TemporaryDirectory() as folder:
        run = auditkit.run(
            "mislabel", subject, out=folder, seed=seed, settings={"thorough": thorough}
        )
        return run.findings


def judge(cell: Cell, name: str, findings: auditkit.Findings, data: Labelled) -> None:
    """Compare findings with the truth: ranking, probabilities and count."""
    frame = findings.frame
    wrong = data.wrong[frame["example_id"].cast(int).to_numpy()]
    cell.score(name, frame["score"].to_numpy(), wrong)
    if name == "auditkit":
        out, training = frame["loss_outside"].to_numpy(), frame["training_loss"].to_numpy()
        cell.score("holdout alone", out, wrong)
        cell.score("training loss + holdout", out + training, wrong)
    probability = frame["probability"].to_numpy()
    promises = {"estimated / true count": float(probability.sum() / wrong.sum())}
    for target in TARGETS:
        near = np.abs(probability - target) <= 0.1
        promises[f"findings near {target}"] = float(near.sum())
        promises[f"wrong near {target}"] = float(wrong[near].sum())
    cell.promises[name] = promises


def timed(cell: Cell, name: str, work: Callable[[], T]) -> T:
    """Do the work and note its seconds on the processor, which other work delays less."""
    start = time.process_time()
    result = work()
    cell.seconds[name] = time.process_time() - start
    return result


def probabilities(
    model: torch.nn.Module, images: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Class probabilities of images, [example, class]."""
    model.eval()
    with torch.no_grad():
        parts = [model(torch.from_numpy(part)).softmax(1) for part in np.array_split(images, 20)]
    result: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return result


def margin(model: torch.nn.Module, data: Labelled) -> npt.NDArray[np.float32]:
    """The score of the given label above the best other one, [example]."""
    model.eval()
    everything = np.arange(len(data.given))
    with torch.no_grad():
        scores = torch.cat([
            model(collate(data.pool, part, device=torch.device("cpu"))[0])
            for part in np.array_split(everything, 20)
        ]).numpy()  # fmt: skip
    own = scores[everything, data.given]
    scores[everything, data.given] = -np.inf
    result: npt.NDArray[np.float32] = own - scores.max(1)
    return result


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/mislabel.json")
)
@click.option("--regimes", default="ABC")
@click.option("--seeds", default="012")
@click.option("--threads", default=1)
@click.option("--refresh", is_flag=True, help="Measure auditkit again; keep the peers' scores.")
def main(out: Path, regimes: str, seeds: str, threads: int, refresh: bool) -> None:
    """Run what is missing in the output file and print the tables."""
    torch.set_num_threads(threads)
    cells = json.loads(out.read_text())["cells"] if out.exists() else {}
    for seed in seeds:
        for letter in regimes:
            if (key := f"{letter}{seed}") not in cells or refresh:
                cell = Cell(**cells[key]) if key in cells else None
                if cell is None:
                    cell = run_cell(REGIMES[letter], int(seed))
                else:
                    refresh_cell(cell, REGIMES[letter], int(seed))
                cells[key] = vars(cell)
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(
                    json.dumps({"versions": versions(threads), "cells": cells}, indent=1)
                )
                click.echo(f"{key}: {json.dumps(cells[key]['ap'])}")
    click.echo(table(cells))


def versions(threads: int) -> dict[str, str]:
    """What the figures were measured with."""
    from importlib.metadata import version

    packages = ("auditkit-influence", "torch", "numpy", "scikit-learn", "cleanlab", "captum")
    return {name: version(name) for name in packages} | {
        "python": platform.python_version(),
        "threads": str(threads),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
