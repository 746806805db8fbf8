"""The published validation and what belongs to it: `python -m benchmarks.mirror`.

    python -m benchmarks.mirror                       everything, two hours on two busy cores
    python -m benchmarks.mirror --only convex         a part: convex, noisy, continual

Finished retrainings are kept in `benchmarks/.cache/mirror`, and a second call goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import torch

from benchmarks.mirror import continual, convex, noisy

CACHE = Path("benchmarks/.cache/mirror")
STOPS = {"digits": convex.STOPS, "fashion": convex.STOPS[:2]}
LOOSE_ROWS = {"digits": 100, "fashion": 30}
COLD = {"digits": 5, "fashion": 1}


def convex_part(folder: Path) -> object:
    """Both data sets: correlations, costs, and what a loose tolerance does."""
    found = {}
    for data in ("digits", "fashion"):
        study = convex.study(data, folder, convex.Clock())
        rows = {
            name: {
                kind: {
                    "mean": each.mean, "from": each.mean_low, "to": each.mean_high,
                    "queries": each.each.tolist(),
                }
                for kind, each in (("pearson", both.pearson), ("spearman", both.spearman))
            }
            for name, both in convex.agreements(study.mirror).items()
        }  # fmt: skip
        click.echo(f"{data}: retrained.")
        found[data] = {
            "rows": study.optimum.problem.rows,
            "weights": study.optimum.problem.weights,
            "seconds": study.seconds,
            "steps": float(study.mirror.steps.mean()),
            "agreement": rows,
            "seconds of one retraining": convex.costs(study.optimum, cold=COLD[data]),
            "loose": [convex.loose(study, stop, rows=LOOSE_ROWS[data]) for stop in STOPS[data]],
        }
    return found


def noisy_part(folder: Path) -> object:
    """Groups with more and more wrong labels, networks retrained."""
    return list(noisy.rows(folder / "noisy"))


def continual_part(folder: Path) -> object:
    """Engine settings, numbers of queries and formulas on linear models."""
    found = {}
    for data in ("digits", "fashion"):
        linear = continual.linear("digits" if data == "digits" else "fashion", folder)
        found[data] = {
            "settings": list(continual.settings(linear)),
            "sizes": list(continual.sizes(linear)),
            "formulas": continual.formulas(linear),
        }
    return found


PARTS: Mapping[str, Callable[[Path], object]] = {
    "convex": convex_part,
    "continual": continual_part,
    "noisy": noisy_part,
}


@click.command()
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="Only these parts.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/mirror.json")
)
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
def main(only: tuple[str, ...], out: Path, cache: Path) -> None:
    """Measure, and keep the numbers; parts that are not measured now stay as they were."""
    torch.set_num_threads(1)
    found = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for name in only or PARTS:
        found[name] = {"date": time.strftime("%Y-%m-%d"), "found": PARTS[name](cache)}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        click.echo(f"{name}: done.")


if __name__ == "__main__":
    main()
