"""Time and peak memory of explaining images, in plain inference passes over the candidates.

Each way is a process of its own on one thread. A plain pass runs the denoiser once over all
candidates at their sixteen timesteps; it is timed in the same process, right before. Seconds are
those of the processor, so that other work on the machine counts little. Memory is how far the peak
resident set rises, from what it is with model and data loaded and a small job done; Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeAlias

import click
import numpy as np
import torch

from auditkit import DiffusionTask, ForwardINF, Pool
from auditkit.batches import collate, every
from benchmarks.diffusion import baselines
from benchmarks.diffusion.baselines import TIMES
from benchmarks.diffusion.data import candidates, unconditional
from benchmarks.diffusion.model import scheduler
from benchmarks.diffusion.truth import CACHE, Explained, explained

Cell: TypeAlias = dict[str, float]

WAYS = (
    "plain inference", "finite, diagonal", "finite, kfac", "first-order, diagonal", "D-TRAK",
)  # fmt: skip
BATCH, FURTHER = 64, 4
_CPU = torch.device("cpu")


def costs(cache: Path) -> dict[str, Cell]:
    """Every way, each in a process of its own."""
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.diffusion.cost", "--way", way,
                   "--cache", str(cache)]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: dict[str, Cell]) -> str:
    """Markdown."""
    lines = [
        "| way | first image, passes | each further image | added MiB | peak MiB |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for way, cell in found.items():
        first, further = cell["first"] / cell["pass"], cell["further"] / cell["pass"]
        memory = f"{cell['added MiB']:.0f} | {cell['peak MiB']:.0f}"
        lines.append(f"| {way} | {first:.2f} | {further:.2f} | {memory} |")
    return "\n".join(lines)


def measure(way: str, cache: Path) -> Cell:
    """One way: seconds of a plain pass, of the first image and of each further one, and memory."""
    data = candidates()
    model = explained(cache, data)
    images = model.queries["generated, reported"].images[: 1 + FURTHER]
    task = DiffusionTask(model.model, scheduler(), timesteps=TIMES)
    pool = data.pool
    _plain(task, Pool.from_arrays(data.images[:8], np.zeros(8, np.int64)))
    cell = {"pass": _seconds(lambda: _plain(task, pool))}
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what it is now
    loaded = _memory("VmRSS")
    if way == "plain inference":
        cell |= {"first": _seconds(lambda: _plain(task, pool)), "further": cell["pass"]}
    elif way == "D-TRAK":
        cell |= _dtrak(model, data.images, images)
    else:
        response, kind = way.split(", ")
        engine = ForwardINF(
            task, train=pool, preconditioner="kfac" if kind == "kfac" else "diagonal",
            response="finite" if response == "finite" else "first-order", batch_size=BATCH,
        )  # fmt: skip
        cell["first"] = _seconds(lambda: engine.influence(unconditional(images[:1])))
        cell["further"] = _seconds(lambda: engine.influence(unconditional(images[1:]))) / FURTHER
    peak = _memory("VmHWM")
    return cell | {"peak MiB": peak, "added MiB": peak - loaded}


def _dtrak(model: Explained, train: np.ndarray, images: np.ndarray) -> Cell:
    def slopes(pictures: np.ndarray) -> np.ndarray:
        return baselines.fresh_gradients(model.model, pictures, "squared norm", "own", 1)

    kept = []
    first = _seconds(
        lambda: (
            kept.append(slopes(train)),
            kept.append(baselines.kernel(kept[0] @ kept[0].T, damping=1.0)),
            _scores(slopes(images[:1]), kept[0], kept[1]),
        )
    )
    further = _seconds(lambda: _scores(slopes(images[1:]), kept[0], kept[1])) / FURTHER
    return {"first": first, "further": further}


def _scores(queries: np.ndarray, train: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return (queries @ train.T) @ kernel


def _plain(task: DiffusionTask, pool: Pool) -> None:
    prepared = task.prepared(pool, device=_CPU)
    places = every(prepared)
    with torch.no_grad():
        for start in range(0, len(places), BATCH):
            where = places[start : start + BATCH]
            task.loss(task.model, collate(prepared, where, device=_CPU))


def _seconds(job: object) -> float:
    start = time.process_time()
    job()  # type: ignore[operator]
    return time.process_time() - start


def _memory(entry: str) -> float:
    """MiB of an entry of the process's status: `VmRSS` now, `VmHWM` at most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(entry)).split()[1]) / 1024


@click.command()
@click.option("--way", type=click.Choice(WAYS), required=True)
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
def main(way: str, cache: Path) -> None:
    """Measure one way in this process."""
    torch.set_num_threads(1)
    click.echo(json.dumps(measure(way, cache)))


if __name__ == "__main__":
    main()
