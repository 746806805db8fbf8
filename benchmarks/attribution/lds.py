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

import time
from pathlib import Path

import click
import numpy as np
import torch

from auditkit.errors import AuditkitError
from benchmarks.attribution import own, peers
from benchmarks.attribution.case import Case, Floats, Method, NotOfferedError, Score
from benchmarks.attribution.results import Cell, Results
from benchmarks.attribution.settings import SETTINGS, Setting
from benchmarks.attribution.truth import CACHE, Truth, ground_truth, lds, trained_models

OUT = Path("benchmarks/results/attribution-lds.json")


def judge(scores: Floats, truth: Truth) -> dict[str, float]:
    """LDS by margin and by loss, and the standard error over queries."""
    found = {}
    for measure in ("margin", "loss"):
        each = lds(scores, truth, measure=measure)
        found[measure] = float(each.mean())
        found[f"{measure}, standard error"] = float(each.std(ddof=1) / len(each) ** 0.5)
    return found


def run_variant(score: Score, case: Case, truth: Truth) -> Cell:
    """One method in one setting; what failed says so in place of figures."""
    start = time.perf_counter()
    try:
        scores = score(case)
    except NotOfferedError as error:
        return {"skipped": str(error)}
    except (AuditkitError, RuntimeError, ValueError, MemoryError) as error:
        return {"failed": f"{type(error).__name__}: {error}"[:200]}
    seconds = time.perf_counter() - start
    if not np.isfinite(scores).all():
        return {"failed": "scores that are not finite", "seconds": seconds}
    return {**judge(scores, truth), "seconds": seconds}


def table(results: Results) -> str:
    """Markdown: per method its best setting by margin, for one and for five networks."""
    lines = []
    for setting in SETTINGS.values():
        lines += [
            f"**{setting.title}**", "",
            "| method | setting | LDS, margin | LDS, loss | five networks, margin | loss |",
            "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for method in (*own.METHODS, *peers.METHODS):
            one, five = (_best(results, setting, method, count) for count in (1, 5))
            if one or five:
                name, cells = _row(one, five)
                lines.append(f"| {method.name} | {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _best(
    results: Results, setting: Setting, method: Method, models: int
) -> tuple[str, Cell] | None:
    """The setting with the highest LDS by margin, and its figures."""
    found = [
        (variant, cell)
        for variant in method.variants
        if "margin" in (cell := results.get(setting.name, str(models), method.name, variant))
    ]
    return max(found, key=lambda pair: pair[1]["margin"], default=None)


def _row(*best: tuple[str, Cell] | None) -> tuple[str, list[str]]:
    names = dict.fromkeys(pair[0] for pair in best if pair)
    cells: list[str] = []
    for pair in best:
        if pair is None:
            cells += ["", ""]
        else:
            cell = pair[1]
            cells += [f"{cell[kind]:.3f} ± {cell[f'{kind}, standard error']:.3f}"
                      for kind in ("margin", "loss")]  # fmt: skip
    return "; ".join(names), cells


def _said(cell: Cell) -> str:
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in cell.items()
        if "error" not in name
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
        networks = trained_models(setting, data, cache=cache)
        for count in map(int, models.split(",")):
            case = Case(networks[:count], data, setting.recipe)
            for method in (*own.METHODS, *peers.METHODS):
                if not method.name.startswith(only):
                    continue
                for variant, score in method.tried(case).items():
                    key = (name, str(count), method.name, variant)
                    if again or not results.get(*key):
                        results.put(key, run_variant(score, case, truth))
                        click.echo(f"{' | '.join(key)}: {_said(results.get(*key))}", err=True)
    click.echo(table(results))


if __name__ == "__main__":
    main()
