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
import torch

from auditkit.engine import replayed
from auditkit.truth import lds
from benchmarks.attribution.case import Case
from benchmarks.attribution.own import influence
from benchmarks.attribution.results import versions
from benchmarks.attribution.settings import SETTINGS, Setting, digits, small_fashion
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


def settings() -> list[Setting]:
    """The two of the LDS benchmark, on other data."""
    return [
        replace(SETTINGS["digits"], name="other-digits", data=lambda: digits(seed=777)),
        replace(
            SETTINGS["fashion"], name="other-fashion", data=lambda: small_fashion(seed=5), seeds=1
        ),
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
