"""Which preconditioner, and why: from a kind, or `auto`, to a function of gradients.

`auto` takes the most faithful one that the model's size allows, decided by counting and never by a
clock, so that the same run chooses the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import nn

from auditkit.choices import check_number
from auditkit.engine.cg import conjugate_gradients
from auditkit.engine.curvature import (
    Curvature,
    Estimated,
    Kind,
    Preconditioner,
    as_it_is,
    estimate,
    first_adam_step,
)
from auditkit.engine.factors import (
    FactorStore,
    kept_or_made,
    key_of,
    read_curvature,
    read_matrix,
    written_curvature,
    written_matrix,
)
from auditkit.engine.ggn import GaussNewton, fits, gauss_newton
from auditkit.engine.outputs import ROWS, heaviest_rows
from auditkit.engine.probes import SAMPLE, sampled_positions
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


@dataclass(frozen=True)
class Chosen:
    """A preconditioner that is ready, which it is, and why."""

    kind: Kind
    reason: str
    solve: Preconditioner


@dataclass(frozen=True)
class Undamped:
    """The same before damping is said: what has been estimated serves any.

    Attributes:
        kind: which it is.
        reason: why.
        damped: from a damping, in units of `MEAN_SHARE` or, for `ggn`, `TRACE_SHARE`, and the
            weight decay of the training, which is added to H as it is.
    """

    kind: Kind
    reason: str
    damped: Callable[[float, float], Preconditioner]

    def chosen(self, *, damping: float = 1.0, weight_decay: float = 0.0) -> Chosen:
        """The preconditioner."""
        return Chosen(self.kind, self.reason, self.damped(damping, weight_decay))


def check_damping(damping: float) -> None:
    """Refuse a damping that is no finite number, or below zero; zero is none at all.

    Raises:
        SettingError: one of these.
    """
    if damping != 0:
        check_number("damping", damping)


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
    """The preconditioner, its curvature estimated on the train pool; see `prepare`."""
    found = prepare(choice, task, model, pool, seed=seed, device=device, progress=progress)
    return found.chosen(damping=damping, weight_decay=weight_decay)


def prepare(
    choice: Choice,
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    seed: int = 0,
    device: torch.device,
    batch_size: int | None = None,
    progress: Progress = SILENT,
    factors: FactorStore | None = None,
    warn: Callable[[str], None] | None = None,
) -> Undamped:
    """Choose, and estimate the curvature on the train pool or take it from where it is kept.

    Args:
        choice: a kind, or `auto`.
        task: gives outputs and losses.
        model: the trained model, in evaluation mode.
        pool: the train pool.
        seed: for samples and drawn targets.
        device: where the model is.
        batch_size: at most so many examples at once; fewer where memory runs out.
        progress: is told how far the estimate is.
        factors: where estimates are kept.
        warn: is told, in a sentence, where that fails.

    Raises:
        TaskError: what the task returns does not depend on trainable weights of the model.
    """
    if choice in ("none", "adam"):
        solve = as_it_is if choice == "none" else first_adam_step
        return Undamped(choice, "as set", lambda *_: solve)
    rows = fits(task, model, pool, rows=min(ROWS, 8 * len(pool)), device=device)
    kind, reason = (choice, "as set") if choice != "auto" else _best(rows, draws=task.draws)
    asked = _Asked(task, model, pool, seed, device, batch_size, progress, factors, warn)
    size = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if kind == "ggn" and rows:
        matrix = asked.matrix()
        held = f"{len(matrix.gram):,} rows hold {matrix.share:.0%} of the curvature"
        return Undamped(
            kind,
            f"{reason}; {held}",
            lambda damping, weight_decay: matrix.preconditioner(
                damping=damping * TRACE_SHARE * size, weight_decay=weight_decay
            ),
        )
    curvature = asked.curvature(kind if kind in ("diagonal", "ekfac") else "kfac")
    share = TRACE_SHARE * size if kind == "ggn" else MEAN_SHARE

    def damped(damping: float, weight_decay: float) -> Preconditioner:
        ridge = curvature.ridge(damping=damping * share, weight_decay=weight_decay)
        return asked.iterated(curvature, ridge) if kind == "ggn" else curvature.solver(ridge)

    return Undamped(kind, reason, damped)


@dataclass(frozen=True)
class _Asked:
    """What curvature is estimated of, and where estimates are kept."""

    task: Task
    model: nn.Module
    pool: Pool
    seed: int
    device: torch.device
    batch_size: int | None
    progress: Progress
    factors: FactorStore | None
    warn: Callable[[str], None] | None

    def matrix(self) -> GaussNewton:
        """The rows of the Gauss-Newton matrix."""
        return kept_or_made(
            self.factors,
            lambda: self._key(f"{ROWS} rows"),
            read=lambda kept: read_matrix(kept, self.model, device=self.device),
            make=self._made_matrix,
            written=written_matrix,
            warn=self.warn,
        )

    def curvature(self, kind: Estimated) -> Curvature:
        """Factors, or a diagonal."""
        return kept_or_made(
            self.factors,
            lambda: self._key(f"{kind} of {SAMPLE}"),
            read=lambda kept: read_curvature(kept, self.model, device=self.device),
            make=lambda: estimate(
                kind,
                self.task,
                self.model,
                self.pool,
                seed=self.seed,
                device=self.device,
                batch_size=self.batch_size,
                progress=self.progress,
            ),
            written=written_curvature,
            warn=self.warn,
        )

    def iterated(self, near: Curvature, ridge: float) -> Preconditioner:
        """Conjugate gradients that begin from factors."""
        return conjugate_gradients(
            self.task,
            self.model,
            self.pool,
            sampled_positions(self.pool, SAMPLE, self.seed),
            ridge=ridge,
            start=near.solver(ridge),
            device=self.device,
            batch_size=self.batch_size,
            progress=self.progress,
        )

    def _made_matrix(self) -> GaussNewton:
        heaviest = heaviest_rows(
            self.task,
            self.model,
            self.pool,
            seed=self.seed,
            device=self.device,
            batch_size=self.batch_size,
            progress=self.progress,
        )
        return gauss_newton(
            self.task,
            self.model,
            self.pool,
            heaviest,
            device=self.device,
            batch_size=self.batch_size,
            progress=self.progress,
        )

    def _key(self, what: str) -> str:
        return key_of(what, self.task, self.model, self.pool, seed=self.seed, device=self.device)


def _best(rows: bool, *, draws: int) -> tuple[Kind, str]:
    """What `auto` takes, and why."""
    if rows:
        return "ggn", "the Gauss-Newton matrix fits by its rows"
    if draws > 1:
        return "kfac", "better than the diagonal for diffusion models, and cheaper than `ekfac`"
    return "ekfac", "the model is too large for the rows of its Gauss-Newton matrix"
