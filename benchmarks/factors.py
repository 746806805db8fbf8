"""What it saves to keep curvature: processor seconds of estimating it and of reading it back.

    python -m benchmarks.factors

The networks of the cost table, on one thread: an engine with an empty folder, one with the folder
that the first one left, and one with none. Their scores must be the same, bit by bit.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import click
import torch

from auditkit import ClassificationTask, FactorFolder, ForwardINF
from benchmarks.attribution.case import Case
from benchmarks.attribution.cells import JOBS, load, prepare
from benchmarks.attribution.truth import CACHE

OUT = Path("benchmarks/results/factors.json")
KINDS = ("auto", "kfac", "ekfac")


def once(case: Case, kind: str, factors: FactorFolder | None) -> tuple[float, bytes]:
    """Processor seconds until the first scores of a new engine, and their bytes."""
    start = time.process_time()
    engine = ForwardINF(
        ClassificationTask(case.models[0]),
        train=case.data.train,
        recipe=case.recipe,
        replays=0,
        preconditioner=kind,  # type: ignore[arg-type]
        factors=factors,
    )
    queries, pool = case.data.queries, case.data.train.subset(range(16))
    found = engine.influence(queries, pool).values.tobytes()
    return time.process_time() - start, found


def compare(name: str, kind: str, cache: Path) -> dict[str, float | bool]:
    """All three for one network and kind."""
    case = load(name, prepare(name, cache), queries=4)
    once(case, "none", None)  # warms up
    with tempfile.TemporaryDirectory() as folder:
        factors = FactorFolder(folder)
        without, expected = once(case, kind, None)
        first, written = once(case, kind, factors)
        second, read = once(case, kind, factors)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {
        "seconds without a folder": without,
        "seconds with an empty one": first,
        "seconds with what it left": second,
        "MiB": size / 2**20,
        "the same scores": expected == written == read,
    }


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(JOBS)))
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def main(names: tuple[str, ...], cache: Path, out: Path) -> None:
    """Measure, print and write down."""
    torch.set_num_threads(1)
    found = {}
    for name in names or JOBS:
        for kind in KINDS:
            found[f"{name}, {kind}"] = compare(name, kind, cache)
            click.echo(f"{name}, {kind}: {found[f'{name}, {kind}']}", err=True)
    out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), **found}, indent=1) + "\n")
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
