"""All benchmarks, one after another: `python -m benchmarks`.

The comparison with curvlinops runs in an environment of its own, since that package brings a
torchvision that breaks others: name its Python in `CURVLINOPS_PYTHON` (it needs auditkit,
curvlinops-for-pytorch and click), or the comparison is left out.
"""

from __future__ import annotations

import os
import subprocess

import click

from benchmarks import (
    factors,
    leakage_features,
    leakage_influence,
    leakage_real,
    memorization_texts,
    memory,
    mislabel,
    real_input,
    truth,
)
from benchmarks.attribution import cost, lds, leakage, replays
from benchmarks.diffusion import __main__ as diffusion
from benchmarks.diffusion import truth as halves_of_images
from benchmarks.invented_facts import __main__ as invented_facts
from benchmarks.leakage import __main__ as planted_leaks
from benchmarks.memorization import __main__ as memorization
from benchmarks.mirror import __main__ as mirror
from benchmarks.tracing import __main__ as tracing

SCRIPTS = (
    mislabel, memory, real_input, truth, lds, replays, leakage, cost, factors,
    planted_leaks, leakage_features, leakage_influence, leakage_real, memorization,
    memorization_texts, mirror, tracing, invented_facts, halves_of_images, diffusion,
)  # fmt: skip

APART = "CURVLINOPS_PYTHON"


def compare_curvature() -> None:
    """The comparison with curvlinops, by the Python of its own environment."""
    python = os.environ.get(APART)
    if not python:
        click.echo(f"benchmarks.curvature is left out: {APART} names no Python.", err=True)
        return
    subprocess.run([python, "-W", "ignore", "-m", "benchmarks.curvature"], check=True)


if __name__ == "__main__":
    compare_curvature()
    for script in SCRIPTS:
        script.main([], standalone_mode=False)
