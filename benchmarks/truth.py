"""How to leave training examples out so that the effect stands out from the noise of training.

    python -m benchmarks.truth --out benchmarks/results/truth.json

Handwritten digits and a small network. Two ways of training without some examples are compared:
taking them out of the batches they would have been in, and shuffling the rest into batches anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, Scores, truth
from auditkit.pool import Positions
from auditkit.seeds import stream

TRAIN, QUERIES, RUNS = 600, 50, 12
WAYS = ("taken out of their batches", "others batched anew")
Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """Correlations of predicted with actual change, mean over repeats, and their standard error."""

    training: str
    share: float
    way: str
    kfac: float
    sgd: float
    error: float


def problem() -> truth.Retraining:
    """The trained network, its data and its recipe."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    inputs = torch.tensor(images[order] / 16, dtype=torch.float32)
    targets = torch.tensor(labels[order])
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    setting = truth.Retraining(
        task=ClassificationTask(model),
        train=Pool.from_arrays(inputs[:TRAIN], targets[:TRAIN]),
        queries=Pool.from_arrays(inputs[-QUERIES:], targets[-QUERIES:]),
        recipe=Recipe(
            optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-3, epochs=20
        ),
    )
    return replace(setting, task=ClassificationTask(truth.retrain(setting, seed=99)))


def measures(setting: truth.Retraining, *, seed: int, out: Positions, way: str) -> Table:
    """The queries' measures after training without some examples, [query]."""
    if way == WAYS[0]:
        model = truth.retrain(setting, seed=seed, left_out=out)
    else:
        model = truth.retrain(setting, seed=seed, positions=np.setdiff1d(np.arange(TRAIN), out))
    queries = setting.asked
    batch = (
        torch.stack([queries[place][0] for place in range(len(queries))]),
        torch.stack([queries[place][1] for place in range(len(queries))]),
    )
    with torch.no_grad():
        found: Table = setting.task.measure(model, batch).double().numpy()
    return found


def noise(setting: truth.Retraining, *, examples: int, seeds: int) -> dict[str, float]:
    """The standard deviation over seeds of the change without one example, by way."""
    nothing = np.array([], dtype=np.int64)
    found = {}
    for way in WAYS:
        with_all = np.stack(
            [measures(setting, seed=s, out=nothing, way=WAYS[0]) for s in range(seeds)]
        )
        without = np.stack(
            [
                [measures(setting, seed=s, out=np.array([z]), way=way) for z in range(examples)]
                for s in range(seeds)
            ]
        )
        found[way] = float((without - with_all[:, None]).std(axis=0, ddof=1).mean())
    return found


def correlations(setting: truth.Retraining, *, repeats: int) -> Iterator[Row]:
    """How well scores predict a dozen removal runs, by what is left out and how."""
    influence = [
        ForwardINF(
            setting.task, train=setting.train, recipe=setting.recipe, preconditioner=kind, replays=0
        ).influence(setting.asked)
        for kind in ("kfac", "none")
    ]
    short = replace(
        setting, fresh=lambda: setting.task.model, recipe=replace(setting.recipe, epochs=3)
    )
    for training, each in (("from scratch", setting), ("3 more epochs", short)):
        for share in (0.1, 0.25, 0.5):
            for way in WAYS:
                found = np.array(
                    [_repeat(each, share, way, influence, seed) for seed in range(repeats)]
                )
                error = found[:, 0].std(ddof=1) / repeats**0.5
                yield Row(training, share, way, *found.mean(axis=0), error)


def _repeat(
    setting: truth.Retraining, share: float, way: str, influence: list[Scores], seed: int
) -> list[float]:
    draw = stream(seed, f"removals of {share}")
    groups = [draw.permutation(TRAIN)[: round(share * TRAIN)] for _ in range(RUNS)]
    actual = np.stack([measures(setting, seed=seed, out=group, way=way) for group in groups])
    return [
        float(
            np.mean(
                [
                    spearmanr([row[group].sum() for group in groups], actual[:, query])[0]
                    for query, row in enumerate(scores.values)
                ]
            )
        )
        for scores in influence
    ]


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/truth.json")
)
@click.option("--repeats", default=8)
def main(out: Path, repeats: int) -> None:
    """Measure both, print the tables and keep the numbers."""
    torch.set_num_threads(1)
    setting = problem()
    spread = noise(setting, examples=12, seeds=repeats)
    click.echo("| without one example | noise of the change |\n|---|---|")
    for way, value in spread.items():
        click.echo(f"| {way} | {value:.3f} |")
    click.echo("\n| training | left out | way | KFAC | plain gradient |\n|---|---|---|---|---|")
    rows = []
    for row in correlations(setting, repeats=repeats):
        rows.append(vars(row))
        click.echo(
            f"| {row.training} | {row.share:.0%} | {row.way} | {row.kfac:.2f} | {row.sgd:.2f} |"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d")
    out.write_text(json.dumps({"date": date, "noise": spread, "removals": rows}, indent=1))


if __name__ == "__main__":
    main()
