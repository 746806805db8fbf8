"""Time and peak memory of scoring 1, 8, 64 and 1,000 queries.

    python -m benchmarks.attribution.cost
    python -m benchmarks.attribution.cost resnet18 --queries 1,8 --limit 600
    python -m benchmarks.attribution.cost --only auditkit --again

A CNN of 150,078 weights on 10,000 Fashion-MNIST images, and ResNet-18 (GroupNorm, width 32) on
2,000. Every cell is a process of its own, on one thread, with batches of 256: it loads the network
and the data, imports the library, does a small job to warm up, and then the whole of it. Memory is
how far the peak resident set rises from there. Time is given in plain inference passes over the
training images, measured in the same process right before and after. Short cells run three times,
the ways taking turns, and medians are shown; a cell that would take longer than the limit, going
by fewer queries, is left out and says so. Finished cells are kept in the output file.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.attribution.case import NotOfferedError
from benchmarks.attribution.cells import JOBS, measure, prepare
from benchmarks.attribution.results import Cell, Results
from benchmarks.attribution.truth import CACHE
from benchmarks.attribution.ways import PLAIN, WAYS, Way

OUT = Path("benchmarks/results/attribution-cost.json")
REPEATS, SHORT = 3, 30.0


def in_child(way: Way, name: str, file: Path, queries: int, limit: float) -> Cell:
    """Do one cell in a process of its own; what failed says so in place of figures."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.attribution.cost", name,
               "--cell", f"{WAYS.index(way)},{queries}", "--cache", str(file.parent)]  # fmt: skip
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=3 * limit + 60
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"stopped after {3 * limit + 60:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    cell: Cell = json.loads(done.stdout.splitlines()[-1])
    return cell


def predicted(results: Results, job: str, way: Way, queries: int) -> float:
    """Seconds a cell would take, going by fewer queries.

    A straight line through the last two measured; from one, in proportion where the way runs the
    images anew for each query, else as long as that one. `inf` where the last one was left out, 0
    where nothing has been measured.
    """
    known: list[tuple[int, float]] = []
    counts = JOBS[job].queries
    for count in counts[: counts.index(queries)]:
        cell = results.get(job, way.group, way.name, str(count), "0")
        if cell and "scores" not in cell:
            return float("inf")
        if cell:
            known.append((count, float(cell["scores"]) + float(cell.get("factors", 0))))
    if not known:
        return 0.0
    last, seconds = known[-1]
    if len(known) == 1:
        return seconds * queries / last if way.per_query else seconds
    first, earlier = known[-2]
    return seconds + max(0.0, seconds - earlier) / (last - first) * (queries - last)


def run(
    results: Results, name: str, counts: Sequence[int], *, only: str, again: bool, limit: float,
    repeats: int, cache: Path,
) -> None:  # fmt: skip
    """Measure what is missing; the ways take turns within each repeat."""
    file = prepare(name, cache)
    for repeat in range(repeats):
        for queries in counts:
            for way in WAYS:
                about, key = (name, way.group, way.name), (str(queries), str(repeat))
                first = results.get(*about, str(queries), "0")
                long = repeat and float(first.get("scores", "inf")) > SHORT
                done = results.get(*about, *key) and not again
                once = way is PLAIN and queries != counts[0]
                if done or long or once or not way.name.startswith(only):
                    continue
                seconds = predicted(results, name, way, queries)
                cell: Cell = (
                    {"skipped": f"would take about {seconds:.0f} s, or fewer queries did"}
                    if seconds > limit
                    else in_child(way, name, file, queries, limit)
                )
                results.put((*about, *key), cell)
                click.echo(f"{' | '.join((*about, *key))}: {cell}", err=True)


def measured(results: Results, about: Sequence[str], queries: int) -> list[Cell]:
    """The repeats of a cell that have figures."""
    cells = (results.get(*about, str(queries), str(repeat)) for repeat in range(REPEATS))
    return [cell for cell in cells if "scores" in cell]


def passes(cells: Sequence[Cell], part: str = "scores") -> float:
    """The median over repeats of the time of one part, in plain passes."""
    return statistics.median(float(cell[part]) / float(cell["pass"]) for cell in cells)


def figure(results: Results, about: Sequence[str], queries: int) -> str:
    """Passes and MiB of a cell: medians over repeats; or that it was left out."""
    cells = measured(results, about, queries)
    if not cells:
        left_out = "would take" in str(results.get(*about, str(queries), "0").get("skipped"))
        return "left out" if left_out else ""
    memory = statistics.median(float(cell["added MiB"]) for cell in cells)
    fitting = passes(cells, "factors") if "factors" in cells[0] else 0.0
    factors = f" (factors {fitting:.1f})" if fitting >= 0.05 else ""
    return f"{passes(cells):.1f}, {memory:.0f} MiB{factors}"


def further(results: Results, about: Sequence[str]) -> str:
    """Passes that each query beyond the first costs, from the cells of one and of eight."""
    one, eight = (measured(results, about, queries) for queries in (1, 8))
    return f"{(passes(eight) - passes(one)) / 7:.2f}" if one and eight else ""


def table(results: Results) -> str:
    """Markdown: passes and added memory per way and number of queries."""
    lines = []
    for name, job in JOBS.items():
        lines += [f"**{job.title}**", "",
                  "| weights, quantity | way | "
                  + " | ".join(f"{count:,}" for count in job.queries)
                  + " | each beyond the first |",
                  "|---|---|" + "---|" * (len(job.queries) + 1)]  # fmt: skip
        for way in WAYS:
            cells = [figure(results, (name, way.group, way.name), n) for n in job.queries]
            if any(cells):
                cells.append(further(results, (name, way.group, way.name)))
                lines.append(f"| {way.group} | {way.name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(JOBS)))
@click.option("--queries", default="", help="Numbers of queries, separated by commas.")
@click.option("--only", default="", help="Ways whose names begin with this.")
@click.option("--again", is_flag=True, help="Measure again what is in the output file.")
@click.option("--limit", default=300.0, help="Seconds beyond which a cell is left out.")
@click.option("--repeats", default=REPEATS, help="How often short cells are measured.")
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
@click.option("--cell", default="", help="Measure this cell in this process.")
def main(
    names: tuple[str, ...], *, queries: str, only: str, again: bool, limit: float,
    repeats: int, cache: Path, out: Path, cell: str,
) -> None:  # fmt: skip
    """Measure what is missing in the output file and print the tables."""
    if cell:
        way, count = map(int, cell.split(","))
        try:
            found = measure(WAYS[way], names[0], cache / f"cost-{names[0]}.npz", count)
        except NotOfferedError as error:
            found = {"skipped": str(error)}
        click.echo(json.dumps(found))
        return
    results = Results.read(out)
    for name in names or JOBS:
        counts = [int(count) for count in queries.split(",") if count] or JOBS[name].queries
        run(
            results, name, counts, only=only, again=again, limit=limit, repeats=repeats, cache=cache
        )
    click.echo(table(results))


if __name__ == "__main__":
    main()
