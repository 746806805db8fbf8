"""How many replays, kept how far and trained how long: LDS on data that no other table is of.

    python -m benchmarks.attribution.replays --cache FOLDER

The settings of the LDS benchmark with other examples and queries, and one retraining of each half
on Fashion-MNIST. First-order scores. What was chosen here are the constants of
`auditkit/engine/replayed.py`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from auditkit.engine import replayed
from auditkit.truth import lds
from benchmarks.attribution.case import Case
from benchmarks.attribution.own import influence
from benchmarks.attribution.results import versions
from benchmarks.attribution.settings import SETTINGS, Data, Setting, small_fashion
from benchmarks.attribution.truth import CACHE, ground_truth, trained_models

OUT = Path("benchmarks/results/attribution-replays.json")
FIRST = {"response": "first-order"}
TRIED = [
    (networks, replays, keep, epochs)
    for networks, replays, keep, epochs in (
        (1, 0, 0.25, 10), (5, 0, 0.25, 10), (1, 4, 0.25, 10), (1, 4, 0.25, 5), (1, 4, 0.25, 15),
        (1, 4, 0.0, 10), (1, 4, 0.5, 10), (1, 2, 0.25, 10), (1, 8, 0.25, 10), (5, 1, 0.25, 10),
    )
]  # fmt: skip
"""Networks, replays of each, the share of the weights that is kept, and epochs."""


def other_digits() -> Data:
    """Digits in another order: other examples to train on, and other queries."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(777).permutation(len(labels))
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    train, query = order[:1_000], order[1_000:1_200]
    return Data(inputs[train], targets[train], inputs[query], targets[query])


def settings() -> list[Setting]:
    """The two of the LDS benchmark, on other data."""
    digits, fashion = (SETTINGS[name] for name in ("digits", "fashion"))
    return [
        replace(digits, name="other-digits", data=other_digits),
        replace(fashion, name="other-fashion", data=lambda: small_fashion(seed=5), seeds=1),
    ]


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def main(cache: Path, out: Path) -> None:
    """Retrain what the cache does not hold, score, and print LDS by margin."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for setting in settings():
        data = setting.data()
        truth = ground_truth(setting, data, cache=cache).margin
        models = trained_models(setting, data, cache=cache)
        rows = found.setdefault(setting.name, {})
        for networks, replays, keep, epochs in TRIED:
            replayed.KEEP, replayed.EPOCHS = keep, (epochs, epochs)
            case = Case(models[:networks], data, setting.recipe)
            scores = influence(case, {**FIRST, "replays": replays})
            name = f"{networks} networks, {replays} replays, {keep:g} kept, {epochs} epochs"
            rows[name] = lds(scores, truth, resamples=1).mean
            click.echo(f"{setting.name}: {name}: {rows[name]:.3f}")
    record = {"versions": versions(("auditkit-influence", "torch", "numpy")), "LDS": found}
    out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
