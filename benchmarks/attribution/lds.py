"""LDS of every method: how well scores foretell networks retrained on halves of the data.

    python -m benchmarks.attribution.lds
    python -m benchmarks.attribution.lds digits --models 5 --only kronfluence
    python -m benchmarks.attribution.lds --only auditkit --again

The linear datamodeling score (Park et al. 2023): over random halves of the training examples, the
rank correlation of the sum of an example set's scores with how networks trained on it really
measure the query; the mean over queries. All methods get the same networks, trained on everything:
one, or five that differ in their seeds. Finished cells are kept in the output file.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import torch

from auditkit.truth import lds
from benchmarks.attribution.case import Case, Floats
from benchmarks.attribution.results import Cell, Results
from benchmarks.attribution.running import METHODS, best, run
from benchmarks.attribution.settings import SETTINGS
from benchmarks.attribution.truth import CACHE, Truth, ground_truth, trained_models

OUT = Path("benchmarks/results/attribution-lds.json")


def judge(scores: Floats, truth: Truth) -> Cell:
    """LDS by margin and by loss, and the standard error over queries."""
    found: Cell = {}
    for measure, halves in (("margin", truth.margin), ("loss", truth.loss)):
        each = lds(scores, halves, resamples=1).per_query
        found[measure] = float(each.mean())
        found[f"{measure}, standard error"] = float(each.std(ddof=1) / len(each) ** 0.5)
    return found


def table(results: Results) -> str:
    """Markdown: per method its best setting by margin, for one and for five networks."""
    lines = []
    for setting in SETTINGS.values():
        lines += [
            f"**{setting.title}**; within reach: {_within_reach(results, setting.name)}", "",
            "| method | setting | LDS, margin | LDS, loss | five networks, margin | loss |",
            "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for method in METHODS:
            one, five = (
                best(results, method, about=(setting.name, count), figure="margin")
                for count in ("1", "5")
            )
            if one or five:
                name = "; ".join(dict.fromkeys(pair[0] for pair in (one, five) if pair))
                cells = " | ".join(_figures(pair[1] if pair else {}) for pair in (one, five))
                lines.append(f"| {method.name} | {name} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def _within_reach(results: Results, name: str) -> str:
    return f"{results.get(name, 'within reach').get('LDS', float('nan')):.2f}"


def _figures(cell: Cell) -> str:
    """LDS by margin and by loss, with standard errors, as two columns."""
    return " | ".join(
        f"{cell[measure]:.3f} ± {cell[f'{measure}, standard error']:.3f}" if cell else ""
        for measure in ("margin", "loss")
    )


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(SETTINGS)))
@click.option("--models", default="1,5", help="How many networks, separated by commas.")
@click.option("--only", default="", help="Methods whose names begin with this.")
@click.option("--again", is_flag=True, help="Measure again what is in the output file.")
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def main(
    names: tuple[str, ...], *, models: str, only: str, again: bool, cache: Path, out: Path
) -> None:
    """Measure what is missing in the output file and print the tables."""
    torch.set_num_threads(1)
    results = Results.read(out)
    for name in names or SETTINGS:
        setting, data = SETTINGS[name], SETTINGS[name].data()
        truth = ground_truth(setting, data, cache=cache)
        results.put((name, "within reach"), {"LDS": truth.within_reach})
        networks = trained_models(setting, data, cache=cache)
        for count in map(int, models.split(",")):
            run(
                Case(networks[:count], data, setting.recipe),
                partial(judge, truth=truth),
                results,
                about=(name, str(count)),
                only=only,
                again=again,
            )
    click.echo(table(results))


if __name__ == "__main__":
    main()
