"""Peak memory of the mislabel audit against plain inference over the same data.

    python -m benchmarks.memory --out benchmarks/results/memory.json

Each measurement is a process of its own, and its peak resident set is read when it ends. Both
load the same data and the same trained model and import the same packages; one runs the model once
over all images, the other audits them, report and all.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import torch

import auditkit
import auditkit.pipeline  # what an audit imports, in every process
from benchmarks.fashion import RECIPE, REGIMES, flipped, new_cnn, task

WAYS = ("inference", "audit", "audit --thorough")


def measure(way: str, letter: str) -> None:
    """Do one of the three things and print the peak resident set in MiB and the seconds."""
    torch.set_num_threads(1)
    data, own = flipped(REGIMES[letter], seed=0), task(0)
    pool = data.pool
    start = time.perf_counter()
    if way == "inference":
        own.model.eval()
        with torch.no_grad():
            for first in range(0, len(data.given), 256):
                own.model(torch.from_numpy(data.images[first : first + 256]))
    else:
        subject = auditkit.Subject(task=own, train=pool, recipe=RECIPE, fresh=new_cnn)
        with tempfile.TemporaryDirectory() as folder:
            auditkit.run(
                "mislabel", subject, out=folder, settings={"thorough": way.endswith("thorough")}
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    weights = sum(weight.nbytes for weight in own.model.parameters()) / 2**20
    click.echo(
        json.dumps(
            {"peak": peak, "seconds": time.perf_counter() - start, "two copies": 2 * weights}
        )
    )


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/memory.json")
)
@click.option("--regime", default="A")
@click.option("--way", default=None, help="Measure one way in this process.")
def main(out: Path, regime: str, way: str | None) -> None:
    """Measure all ways, each in a process of its own, and print the table."""
    if way is not None:
        measure(way, regime)
        return
    found = {}
    for name in WAYS:
        command = [sys.executable, "-m", "benchmarks.memory", "--regime", regime, "--way", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    allowed = 1.5 * found["inference"]["peak"] + found["inference"]["two copies"]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "ways": found}, indent=1))
    click.echo("| way | peak, MiB | against inference |\n|---|---|---|")
    for name, one in found.items():
        ratio = one["peak"] / found["inference"]["peak"]
        click.echo(f"| {name} | {one['peak']:.0f} | {ratio:.2f} |")
    click.echo(f"1.5 times inference and two copies of the weights: {allowed:.0f} MiB")


if __name__ == "__main__":
    main()
