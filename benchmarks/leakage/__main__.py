"""Planted leaks among images, mails and rows: recall by kind at a precision of .95, and the cost.

    python -m benchmarks.leakage
    python -m benchmarks.leakage --only time

One threshold for a way and a kind of data: the largest at which at least .95 of what is below it is
a copy, over all seeds. What was not planted and is a copy all the same (a product photographed
twice, a mail sent twice) is no false positive; both figures are given. Finished parts are kept in
the output file and not computed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from auditkit_leakage.search import Content, find
from threadpoolctl import threadpool_limits

from benchmarks.fashion import cnn, read_images
from benchmarks.leakage import cases, ways

PRECISION = 0.95
CACHE = Path.home() / ".cache" / "auditkit-benchmarks" / "mails"

Figures = dict[str, dict[str, float]]


def measure(make: Callable[[int], cases.Case], kind: str, seeds: list[int]) -> dict[str, Figures]:
    """Recall by alteration for every way, over several seeds."""
    made = [make(seed) for seed in seeds]
    result: dict[str, Figures] = {}
    for name, way in ways.WAYS[kind].items():
        start = time.process_time()
        rows = [judge(case, way(case)) for case in made]
        seconds = (time.process_time() - start) / len(seeds)
        table = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
        result[name] = {
            "recall": recalls(table, natural=True),
            "recall, natural copies counted as false": recalls(table, natural=False),
            "top-1": by_kind(table["kind"], table["right"]),
            "facts": {
                "seconds": round(seconds, 2),
                "natural copies found below the threshold": float(
                    (table["copy"] & (table["distance"] <= threshold(table, natural=True))).sum()
                ),
            },
        }
        click.echo(f"{name}: {json.dumps(result[name]['recall'])}")
    return result


def judge(case: cases.Case, found: ways.Nearest) -> dict[str, npt.NDArray[np.generic]]:
    """Which examples were planted, found right, or copies that nobody planted."""
    count = len(case.source)
    planted = case.source >= 0
    right, copy = np.zeros(count, bool), np.zeros(count, bool)
    for place in range(count):
        train = int(found.train[place])
        if planted[place]:
            right[place] = train >= 0 and ways.same_content(case, train, int(case.source[place]))
        elif train >= 0:
            copy[place] = ways.copies(case, place, train)
    return {
        "planted": planted, "right": right, "copy": copy, "kind": case.kind,
        "distance": found.distance,
    }  # fmt: skip


def threshold(table: dict[str, npt.NDArray[np.generic]], *, natural: bool) -> float:
    """The largest distance below which at least .95 are copies; below zero if there is none."""
    counts = ~table["copy"].astype(bool) if natural else np.ones(len(table["copy"]), bool)
    planted, distance = table["planted"].astype(bool)[counts], table["distance"][counts]
    order = np.argsort(distance, kind="stable")
    precision = np.cumsum(planted[order]) / np.arange(1, len(order) + 1)
    ends = np.append(np.diff(distance[order]) > 0, True)
    good = np.flatnonzero((precision >= PRECISION) & ends)
    return float(distance[order][good[-1]]) if len(good) else -1.0


def recalls(table: dict[str, npt.NDArray[np.generic]], *, natural: bool) -> dict[str, float]:
    """Recall of each alteration at the threshold."""
    below = table["distance"] <= threshold(table, natural=natural)
    return by_kind(table["kind"], table["right"].astype(bool) & below)


def by_kind(kind: npt.NDArray[np.generic], values: npt.NDArray[np.generic]) -> dict[str, float]:
    """The mean for each kind that was planted."""
    names = sorted({str(name) for name in kind} - {""})
    return {name: round(float(values[kind == name].mean()), 4) for name in names}


def cost(threads: int, *, repeat: int = 3) -> Figures:
    """Stages 1 and 2 for all of Fashion-MNIST, in plain passes of a CNN over the training set."""
    train, test = (read_images(part)[0] for part in ("train", "t10k"))
    model = cnn(0).eval()
    tensor = torch.from_numpy(train[:, None].astype(np.float32) / 255)
    contents = Content("image", images=train), Content("image", images=test)
    find(contents[0].take(np.arange(500)), contents[1].take(np.arange(50)))  # imports
    seconds: dict[str, list[float]] = {"pass": [], "search": []}
    torch.set_num_threads(threads)
    with threadpool_limits(threads), torch.no_grad():
        for _ in range(repeat):
            start = time.process_time()
            for batch in tensor.split(256):
                model(batch)
            seconds["pass"].append(time.process_time() - start)
            start = time.process_time()
            find(*contents)
            seconds["search"].append(time.process_time() - start)
    one, search = min(seconds["pass"]), min(seconds["search"])
    facts = {"seconds of a pass": one, "seconds of the search": search, "passes": search / one}
    return {"60,000 x 10,000 images": facts | {"threads": float(threads)}}


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/leakage.json")
)
@click.option("--seeds", default=5)
@click.option("--threads", default=1)
@click.option("--only", default=None, help="images, mails, loans, houses or time.")
@click.option("--mails", "folder", type=click.Path(path_type=Path), default=CACHE)
def main(out: Path, seeds: int, threads: int, only: str | None, folder: Path) -> None:
    """Measure what is missing in the output file."""
    numbers = [1_000 + seed for seed in range(seeds)]
    parts: dict[str, Callable[[], object]] = {
        "time": lambda: cost(threads),
        "images": lambda: measure(cases.images, "images", numbers),
        "mails": lambda: measure(lambda seed: cases.mails(seed, folder), "mails", numbers),
    }
    for name in cases.TABLES:
        parts[name] = lambda name=name: measure(
            lambda seed: cases.table(name, seed), "rows", numbers
        )
    results = json.loads(out.read_text()) if out.exists() else {}
    for name, work in parts.items():
        if name == only or (only is None and name not in results):
            click.echo(name)
            results[name] = work()
            packages = ("torch", "numpy", "scikit-learn", "datasketch")
            results["versions"] = {package: version(package) for package in packages} | {
                "date": time.strftime("%Y-%m-%d"), "seeds": seeds,
            }  # fmt: skip
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(results, indent=1) + "\n")
    click.echo(json.dumps(results.get("time"), indent=1))


if __name__ == "__main__":
    main()
