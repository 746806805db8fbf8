"""Time and peak memory of scoring 1, 8, 64 and 1,000 queries.

    python -m benchmarks.attribution.cost
    python -m benchmarks.attribution.cost resnet18 --queries 1,8 --limit 600
    python -m benchmarks.attribution.cost --only auditkit --again

A CNN of 150,078 weights on 10,000 Fashion-MNIST images, and ResNet-18 (GroupNorm, width 32) on
2,000. Every cell is a process of its own, on one thread, with batches of 256: it loads the network
and the data, imports the library, does a small job to warm up, and then the whole of it. Memory is
how far the peak resident set rises from there. Time is given in plain inference passes over the
training images, measured in the same process right after. Short cells run three times, the ways
taking turns, and medians are shown; a cell that would take longer than the limit, going by fewer
queries, is left out and says so. Finished cells are kept in the output file.
"""

from __future__ import annotations

import importlib
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

from auditkit import ClassificationTask, Pool, Recipe
from auditkit.training import epochs
from benchmarks.attribution.case import Case, NotOfferedError
from benchmarks.attribution.networks import cnn, resnet18
from benchmarks.attribution.results import Cell, Results
from benchmarks.attribution.settings import Data
from benchmarks.attribution.truth import CACHE
from benchmarks.attribution.ways import PLAIN, WAYS, Way, inference
from benchmarks.fashion import DEVIATION, MEAN, read_images

OUT = Path("benchmarks/results/attribution-cost.json")
RECIPE = Recipe(optimizer="sgd", learning_rate=0.02, momentum=0.9, weight_decay=5e-4)
REPEATS, SHORT = 3, 30.0


@dataclass(frozen=True)
class Job:
    """A network, how many images it is trained and scored on, and the numbers of queries."""

    title: str
    network: Callable[[int], nn.Sequential]
    images: int
    queries: tuple[int, ...]


JOBS = {
    "cnn": Job("CNN, 150,078 weights, 10,000 images", cnn, 10_000, (1, 8, 64, 1_000)),
    "resnet18": Job("ResNet-18, GroupNorm, width 32, 2,000 images", resnet18, 2_000, (1, 8)),
}


def prepare(name: str, cache: Path) -> Path:
    """Train the network for two epochs, once; the file holds its weights and the images."""
    file = cache / f"cost-{name}.npz"
    if not file.exists():
        job, arrays = JOBS[name], {}
        for role, part, count in (("train", "train", job.images), ("query", "t10k", 1_000)):
            images, labels = read_images(part)
            arrays[f"{role}_x"] = (
                (images[:count, None] / np.float32(255) - MEAN) / DEVIATION
            ).astype(np.float32)
            arrays[f"{role}_y"] = labels[:count]
        model, pool = job.network(0), Pool.from_arrays(arrays["train_x"], arrays["train_y"])
        for _ in epochs(model, ClassificationTask(model), pool, RECIPE, count=2):
            pass
        file.parent.mkdir(parents=True, exist_ok=True)
        weights = {f"weight {key}": value.numpy() for key, value in model.state_dict().items()}
        np.savez(file, **arrays, **weights)
    return file


def load(name: str, file: Path, *, queries: int, images: int | None = None) -> Case:
    """The network with its weights, and as many queries and images as asked for."""
    stored, model = np.load(file), JOBS[name].network(0).eval()
    model.load_state_dict({key: torch.from_numpy(stored[f"weight {key}"])
                           for key in model.state_dict()})  # fmt: skip
    data = Data(*(torch.from_numpy(stored[key][:count].copy()) for key, count in (
        ("train_x", images), ("train_y", images), ("query_x", queries), ("query_y", queries),
    )))  # fmt: skip
    return Case([model], data, RECIPE)


def measure(way: Way, name: str, file: Path, queries: int) -> Cell:
    """Do one cell in this process."""
    torch.set_num_threads(1)
    importlib.import_module(way.library)
    case = load(name, file, queries=queries)
    way.work(load(name, file, queries=1, images=32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: Cell = dict(way.work(case))
    found["added MiB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found["pass"] = statistics.median(inference(case)["scores"] for _ in range(3))
    return found


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


def predicted(results: Results, about: Sequence[str], counts: Sequence[int], queries: int) -> float:
    """Seconds a cell would take: a straight line through the last two measured, or in proportion.

    `inf` where the last one was left out, 0 where nothing has been measured.
    """
    known: list[tuple[int, float]] = []
    for count in counts[: counts.index(queries)]:
        cell = results.get(*about, str(count), "0")
        if cell and "scores" not in cell:
            return float("inf")
        if cell:
            known.append((count, float(cell["scores"]) + float(cell.get("factors", 0))))
    if not known:
        return 0.0
    last, seconds = known[-1]
    if len(known) == 1:
        return seconds * queries / last if queries <= 8 * last else seconds
    first, earlier = known[-2]
    return seconds + (seconds - earlier) / (last - first) * (queries - last)


def run(
    results: Results, name: str, counts: Sequence[int], *, only: str, again: bool, limit: float,
    cache: Path,
) -> None:  # fmt: skip
    """Measure what is missing; the ways take turns within each repeat."""
    file = prepare(name, cache)
    for repeat in range(REPEATS):
        for queries in counts:
            for way in WAYS:
                about, key = (name, way.group, way.name), (str(queries), str(repeat))
                first = results.get(*about, str(queries), "0")
                long = repeat and float(first.get("scores", "inf")) > SHORT
                done = results.get(*about, *key) and not again
                once = way is PLAIN and queries != counts[0]
                if done or long or once or not way.name.startswith(only):
                    continue
                seconds = predicted(results, about, JOBS[name].queries, queries)
                cell: Cell = (
                    {"skipped": f"would take about {seconds:.0f} s"}
                    if seconds > limit
                    else in_child(way, name, file, queries, limit)
                )
                results.put((*about, *key), cell)
                click.echo(f"{' | '.join((*about, *key))}: {cell}", err=True)


def figure(results: Results, about: Sequence[str], queries: int) -> str:
    """Passes and MiB of a cell: medians over repeats; or why there are none."""
    cells = [results.get(*about, str(queries), str(repeat)) for repeat in range(REPEATS)]
    good = [cell for cell in cells if "scores" in cell]
    if not good:
        return "skipped" if "would take" in str(cells[0].get("skipped")) else ""
    passes = statistics.median(float(cell["scores"]) / float(cell["pass"]) for cell in good)
    memory = statistics.median(float(cell["added MiB"]) for cell in good)
    said = f"{passes:.1f}, {memory:.0f} MiB"
    if "factors" in good[0]:
        fitting = statistics.median(float(cell["factors"]) / float(cell["pass"]) for cell in good)
        said += f" (factors {fitting:.1f})" if fitting >= 0.05 else ""
    return said


def table(results: Results) -> str:
    """Markdown: passes and added memory per way and number of queries."""
    lines = []
    for name, job in JOBS.items():
        lines += [f"**{job.title}**", "",
                  "| weights, quantity | way | "
                  + " | ".join(f"{count:,}" for count in job.queries) + " |",
                  "|---|---|" + "---|" * len(job.queries)]  # fmt: skip
        for way in WAYS:
            cells = [figure(results, (name, way.group, way.name), n) for n in job.queries]
            if any(cells):
                lines.append(f"| {way.group} | {way.name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(JOBS)))
@click.option("--queries", default="", help="Numbers of queries, separated by commas.")
@click.option("--only", default="", help="Ways whose names begin with this.")
@click.option("--again", is_flag=True, help="Measure again what is in the output file.")
@click.option("--limit", default=300.0, help="Seconds beyond which a cell is left out.")
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
@click.option("--cell", default="", help="Measure this cell in this process.")
def main(
    names: tuple[str, ...], *, queries: str, only: str, again: bool, limit: float,
    cache: Path, out: Path, cell: str,
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
        run(results, name, counts, only=only, again=again, limit=limit, cache=cache)
    click.echo(table(results))


if __name__ == "__main__":
    main()
