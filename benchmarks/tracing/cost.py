"""What a query costs, in time and memory, against plain inference over the same documents.

Time: in one process, a plain pass and the scores of a further query take turns, and the processor's
time is taken. Memory: plain inference and the scores of one query, curvature included, each in a
process of its own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import click
import numpy as np
import torch

from benchmarks.attribution.cells import forget_peak, peak
from benchmarks.tracing.model import documents_of
from benchmarks.tracing.ranking import make_case
from benchmarks.tracing.ways import BEST, BOTH, CANDIDATES, Case, made

REPEATS, BATCH = 9, 256
Job: TypeAlias = Literal["time", "inference", "influence", "influence with a checkpoint"]


def both(seed: int, cache: Path) -> dict[str, float]:
    """Time and memory, each measured in processes of their own."""
    found = [_in_child(job, seed, cache) for job in get_args(Job)]
    return {key: value for own in found for key, value in own.items()}


def _in_child(job: Job, seed: int, cache: Path) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.tracing.cost", job,
               "--seed", str(seed), "--cache", str(cache)]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return cast(dict[str, float], json.loads(done.stdout.splitlines()[-1]))


def inference(case: Case, *, count: int | None = None) -> float:
    """One plain pass over the (first) documents; seconds on the processor."""
    data, start = documents_of(case.train), time.process_time()
    count = len(data) if count is None else count
    with torch.no_grad():
        for place in range(0, count, BATCH):
            where = np.arange(place, min(place + BATCH, count))
            tokens, labels = (torch.from_numpy(part) for part in data.rows(where))
            case.task.loss(case.task.model, (tokens, labels))
    return time.process_time() - start


def timed(case: Case) -> dict[str, float]:
    """Seconds of a pass and of a further query, and their ratio, medians over turns."""
    first, *others = case.corpus.queries[: 1 + REPEATS]
    found: dict[str, float] = {}
    for name, own in (("query", BEST), ("query with a checkpoint", BOTH)):
        engine = made(own, case)
        start = time.process_time()
        engine.documents(case.queries([first]))  # curvature and the base pass
        before = time.process_time() - start
        passes, queries = [inference(case)], []
        for asked in others:
            start = time.process_time()
            engine.documents(case.queries([asked]), candidates=CANDIDATES)
            queries.append(time.process_time() - start)
            passes.append(inference(case))
        around = [(a + b) / 2 for a, b in pairwise(passes)]
        ratios = [one / plain for one, plain in zip(queries, around, strict=True)]
        found |= {
            f"{name}: pass, seconds": statistics.median(passes),
            f"{name}: seconds": statistics.median(queries),
            f"{name}: passes": statistics.median(ratios),
            f"{name}: passes, least": min(ratios),
            f"{name}: passes, most": max(ratios),
            f"{name}: curvature, base pass and first query, seconds": before,
        }
    return found


def peaks(case: Case, job: Job) -> dict[str, float]:
    """The peak of the resident set of this process, in MiB, and what of it was added by the job."""
    inference(case, count=BATCH)
    before = forget_peak()
    if job == "inference":
        inference(case)
    else:
        own = BOTH if job == "influence with a checkpoint" else BEST
        asked = case.queries(case.corpus.queries[:1])
        made(own, case).documents(asked, candidates=CANDIDATES)
    moved = [own for name, own in case.task.model.named_parameters() if ".h." in name]
    return {
        f"{job}, peak MiB": peak(),
        f"{job}, added MiB": peak() - before,
        "two copies of the moved weights, MiB": 2 * sum(own.nbytes for own in moved) / 2**20,
    }


@click.command()
@click.argument("job", type=click.Choice(get_args(Job)))
@click.option("--seed", type=int, required=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True)
def main(job: Job, seed: int, cache: Path) -> None:
    """Measure one job in this process."""
    torch.set_num_threads(1)
    case = make_case(seed, cache)
    click.echo(json.dumps(timed(case) if job == "time" else peaks(case, job)))


if __name__ == "__main__":
    main()
