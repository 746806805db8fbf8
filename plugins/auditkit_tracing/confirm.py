"""Is it the cause? Training again without the first proponents, and what becomes of the behaviour.

Leaving out and training anew is what attribution predicts, so it is the judge of it (Chang et al.
2024 judge by the reverse, training on them once more). Three sets of the same size are left out:
the first proponents of all behaviours, as many random examples, and what retrieval finds first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import SettingError
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.measuring import Examples
from auditkit_tracing.retrieval import BM25, EMBEDDING
from auditkit_tracing.settings import Context

if TYPE_CHECKING:
    from auditkit import truth

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

EVERYTHING, PROPONENTS, RANDOM = "nothing", "first proponents", "random examples"

_LOGS: Mapping[str, Callable[[Floats], Floats]] = {
    "log-probability": np.negative,
    "loss": np.negative,
    "margin": lambda own: -np.logaddexp(0, own),
}
"""From what is measured under a retrained model to the log probability, by the measure's name."""

_SCHEMA = {
    "left_out": pl.String(),
    "examples": pl.Int64(),
    "seed": pl.Int64(),
    "query_id": pl.String(),
    "log_probability": pl.Float64(),
}


@dataclass(frozen=True)
class Order:
    """Training examples in the order in which they are to be left out, by what finds them.

    Attributes:
        proponents: int64 [behaviour, example]; the strongest first.
        retrieved: by method, int64 [behaviour, example]; the best first.
        barred: bool [behaviour, example]; those that are a query themselves. None of them is left
            out, for whichever behaviour: leaving out another query would undo that one by itself.
    """

    proponents: Positions
    retrieved: Mapping[str, Positions]
    barred: npt.NDArray[np.bool_]


def check(context: Context, asked: Asked, whole: Examples, itself: npt.NDArray[np.bool_]) -> None:
    """Refuse at once what would be refused after all has been traced.

    Raises:
        SettingError: too few training examples to leave so many of a behaviour out.
    """
    if context.settings.confirm:
        _check(context, asked, whole, itself, size=context.settings.confirm_count)


def _check(
    context: Context,
    asked: Asked,
    whole: Examples,
    barred: npt.NDArray[np.bool_],
    *,
    size: int,
) -> npt.NDArray[np.int64]:
    """The examples that may be left out, if they are twice as many as are to be."""
    count, free = context.settings.confirm_count, np.flatnonzero(~barred.any(axis=0))
    if 2 * size > len(free):
        raise SettingError(
            f"--confirm is to leave {size:,} of {len(whole):,} training examples out "
            f"({count} for each of {len(asked.behaviours)} behaviours), more than half: give a "
            "lower --confirm-count, or fewer queries."
        )
    return free


def confirm(context: Context, asked: Asked, order: Order, whole: Examples) -> pl.DataFrame:
    """Train with everything and without each set, and measure the behaviours.

    Finished trainings are kept in the run's folder for unfinished work.

    Returns:
        A row per set, seed and behaviour: `left_out`, `examples` (how many), `seed`, `query_id`,
        `log_probability` (of the behaviour, in nats; its mean over a group's queries).

    Raises:
        SettingError: too few training examples to leave so many out.
    """
    from auditkit import truth  # noqa: PLC0415 - brings torch

    settings = context.settings
    chosen = sets(order, count=settings.confirm_count)
    size = len(chosen[PROPONENTS])
    free = _check(context, asked, whole, order.barred, size=size)
    retraining, rows = _retraining(context, asked), []
    folder, seeds = context.work() / "confirm", range(settings.confirm_seeds)
    kinds = len(chosen) + 2
    context.say(
        f"Training {kinds * len(seeds)} times: with everything and without {kinds - 1} sets of "
        f"{size:,} training examples, {len(seeds)} times each, {retraining.recipe.epochs} epochs a "
        "time."
    )
    with context.progress.step("training without examples", len(seeds)) as step:
        for place in seeds:
            random = np.random.default_rng([context.seed % 2**64, 0xC0F2, place])
            left = {**chosen, RANDOM: np.sort(random.permutation(free)[:size])}
            done = truth.group_influence(
                replace(retraining, seed=context.seed + place),
                groups={name: whole.windows(own) for name, own in left.items()},
                seeds=1,
                folder=folder,
            )
            rows += _rows(done, asked, left, seed=place)
            step.advance()
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def sets(order: Order, *, count: int) -> dict[str, Positions]:
    """What is left out, by name: the first of each behaviour together, all sets of one size.

    Behaviours may share examples; then further ones of each are taken in turn, until every set is
    as large as that of the proponents.
    """
    proponents = _together(order.proponents, order.barred, each=count)
    found = {PROPONENTS: proponents}
    for name in (BM25, EMBEDDING):
        if name in order.retrieved:
            found[name] = _together(order.retrieved[name], order.barred, size=len(proponents))
    return found


def _together(
    order: Positions,
    barred: npt.NDArray[np.bool_],
    *,
    each: int | None = None,
    size: int | None = None,
) -> Positions:
    """The first of each row together: `each` of every row, or `size` in all, taken in turn."""
    free: npt.NDArray[np.bool_] = ~np.any(barred, axis=0)
    rows = [own[free[own]] for own in order]
    found: dict[int, None] = {}
    for depth in range(order.shape[1]):
        if each is not None and depth >= each:
            break
        for own in rows:
            if depth < len(own) and (size is None or len(found) < size):
                found.setdefault(int(own[depth]))
    return np.array(sorted(found), dtype=np.int64)


def _retraining(context: Context, asked: Asked) -> truth.Retraining:
    from auditkit import truth  # noqa: PLC0415 - brings torch

    settings, subject = context.settings, context.subject
    recipe = subject.recipe
    if settings.confirm_epochs:
        recipe = replace(recipe, epochs=settings.confirm_epochs)
    if settings.confirm_rate is not None:
        recipe = replace(recipe, learning_rate=settings.confirm_rate)
    retraining = replace(
        truth.Retraining.of(subject),
        queries=asked.pool,
        recipe=recipe,
        seed=context.seed,
        device=context.device,
        measure="auto" if subject.required_task().measure_name in _LOGS else "loss",
    )
    unknown = subject.recipe.learning_rate is None and not callable(recipe.optimizer)
    return _as_good(context, retraining) if unknown and not settings.confirm_epochs else retraining


def _as_good(context: Context, retraining: truth.Retraining) -> truth.Retraining:
    """With as many epochs as make a model as good as the audited one, whose recipe is not known."""
    from auditkit import truth  # noqa: PLC0415 - brings torch

    context.say(
        "How the model was trained is not known (--confirm-epochs), so one is trained until it is "
        f"as good on its training examples, at most {truth.MOST_EPOCHS} epochs."
    )
    needed = truth.epochs_needed(retraining, progress=context.progress)
    epochs = needed or truth.MOST_EPOCHS
    context.note(
        "How the model was trained is not known, so for --confirm it was trained again for "
        + (
            f"{epochs} epoch{'s' if epochs > 1 else ''}, after which a new one is as good on its "
            "training examples"
            if needed
            else f"{epochs} epochs, after which a new one is not yet as good on its training "
            "examples"
        )
        + " (--confirm-epochs, --confirm-rate and --base for how it was trained)."
    )
    return replace(retraining, recipe=replace(retraining.recipe, epochs=epochs))


def _rows(
    done: truth.Removals, asked: Asked, left: Mapping[str, Positions], *, seed: int
) -> list[tuple[str, int, int, str, float]]:
    base = done.base[0].astype(np.float64)
    measures = {EVERYTHING: base}
    for place, name in enumerate(done.left_out):
        measures[name] = base + done.by_seed[0, :, place]
    groups, rows = np.array(asked.groups), []
    for name, own in measures.items():
        logs = _LOGS[done.measure](own)
        for group in asked.behaviours:
            mean = float(logs[groups == group].mean())
            rows.append((name, len(left.get(name, ())), seed, group, mean))
    return rows
