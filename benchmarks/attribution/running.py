"""All methods in all their settings on one case, whatever becomes of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import click
import numpy as np

from auditkit.errors import AuditkitError
from benchmarks.attribution import own, peers
from benchmarks.attribution.case import Case, Floats, Method, NotOfferedError
from benchmarks.attribution.results import Cell, Results

METHODS: tuple[Method, ...] = (*own.METHODS, *peers.METHODS)


def run(
    case: Case,
    judge: Callable[[Floats], Cell],
    results: Results,
    *,
    about: tuple[str, ...],
    only: str = "",
    again: bool = False,
) -> None:
    """Score and judge by every method, keeping each cell as it is measured.

    Args:
        case: networks and data.
        judge: gives the figures for scores.
        results: where they are kept.
        about: what the cells are about, before the method's name and the setting.
        only: only methods whose names begin with this.
        again: also those that have been measured.
    """
    for method in METHODS:
        for variant, score in method.tried(case).items():
            key = (*about, method.name, variant)
            if method.name.startswith(only) and (again or not results.get(*key)):
                start = time.perf_counter()
                cell = attempt(partial(score, case), judge)
                results.put(key, {**cell, "seconds": time.perf_counter() - start})
                click.echo(f"{' | '.join(key)}: {said(results.get(*key))}", err=True)


def attempt(score: Callable[[], Floats], judge: Callable[[Floats], Cell]) -> Cell:
    """The figures of a method's scores; what failed says so in place of figures."""
    try:
        scores = score()
    except NotOfferedError as error:
        return {"skipped": str(error)}
    except (AuditkitError, RuntimeError, ValueError, MemoryError) as error:
        return {"failed": f"{type(error).__name__}: {error}"[:200]}
    if not np.isfinite(scores).all():
        return {"failed": "scores that are not finite"}
    return judge(scores)


def best(
    results: Results, method: Method, *, about: tuple[str, ...], figure: str
) -> tuple[str, Cell] | None:
    """The setting of the method with the highest figure, and its cell."""
    found = [
        (variant, cell)
        for variant in method.variants
        if figure in (cell := results.get(*about, method.name, variant))
    ]
    return max(found, key=lambda pair: pair[1][figure], default=None)


def said(cell: Cell) -> str:
    """A cell in a line."""
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in cell.items()
        if "error" not in name
    )
