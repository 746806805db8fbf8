"""Which preconditioner, and why: from a kind, or `auto`, to a function of gradients.

`auto` takes the most faithful one that the model's size allows, decided by counting and never by a
clock, so that the same run chooses the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import nn

from auditkit.engine.cg import conjugate_gradients
from auditkit.engine.curvature import (
    Kind,
    Preconditioner,
    as_it_is,
    estimate,
    first_adam_step,
)
from auditkit.engine.ggn import fits, gauss_newton
from auditkit.engine.outputs import ROWS, heaviest_rows
from auditkit.engine.probes import sampled_positions
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.subject import Task

Choice: TypeAlias = Literal["auto"] | Kind
"""A kind of preconditioner, or `auto`."""

MEAN_SHARE = 1 / 100
"""Damping 1 of the estimated kinds, in units of H's mean diagonal entry."""

TRACE_SHARE = 1 / 2_000
"""Damping 1 of `ggn`, as a share of H's trace: it does not matter to it how many parameters there
are that the data do not hold fast (docs/explanation/method.md)."""

_SAMPLE = 2_048


@dataclass(frozen=True)
class Chosen:
    """A preconditioner that is ready, which it is, and why."""

    kind: Kind
    reason: str
    solve: Preconditioner


def make_preconditioner(
    choice: Choice,
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    damping: float = 1.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    device: torch.device,
    progress: Progress = SILENT,
) -> Chosen:
    """The preconditioner, its curvature estimated on the train pool.

    Args:
        choice: a kind, or `auto`.
        task: gives outputs and losses.
        model: the trained model, in evaluation mode.
        pool: the train pool.
        damping: in units of `MEAN_SHARE` or, for `ggn`, `TRACE_SHARE`.
        weight_decay: of the training, added to H as it is.
        seed: for samples and drawn targets.
        device: where the model is.
        progress: is told how far the estimate is.

    Raises:
        TaskError: what the task returns does not depend on trainable weights of the model.
    """
    if choice in ("none", "adam"):
        return Chosen(choice, "as set", as_it_is if choice == "none" else first_adam_step)
    rows = fits(task, model, pool, rows=min(ROWS, 8 * len(pool)), device=device)
    kind, reason = (choice, "as set") if choice != "auto" else _best(rows, draws=task.draws)
    size = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    damping *= TRACE_SHARE * size if kind == "ggn" else MEAN_SHARE
    if kind == "ggn" and rows:
        heaviest = heaviest_rows(task, model, pool, seed=seed, device=device, progress=progress)
        matrix = gauss_newton(task, model, pool, heaviest, device=device, progress=progress)
        return Chosen(
            kind,
            f"{reason}; {len(heaviest):,} rows hold {matrix.share:.0%} of the curvature",
            matrix.preconditioner(damping=damping, weight_decay=weight_decay),
        )
    curvature = estimate(
        kind if kind in ("diagonal", "ekfac") else "kfac",
        task,
        model,
        pool,
        seed=seed,
        device=device,
        progress=progress,
    )
    ridge = curvature.ridge(damping=damping, weight_decay=weight_decay)
    solve = curvature.solver(ridge)
    if kind == "ggn":
        solve = conjugate_gradients(
            task,
            model,
            pool,
            sampled_positions(pool, _SAMPLE, seed),
            ridge=ridge,
            start=solve,
            device=device,
            progress=progress,
        )
    return Chosen(kind, reason, solve)


def _best(rows: bool, *, draws: int) -> tuple[Kind, str]:
    """What `auto` takes, and why."""
    if rows:
        return "ggn", "the Gauss-Newton matrix fits by its rows"
    if draws > 1:
        return "kfac", "better than the diagonal for diffusion models, and cheaper than `ekfac`"
    return "ekfac", "the model is too large for the rows of its Gauss-Newton matrix"
