"""`--calibrate`: rise and damping chosen by what retraining does, before an audit asks anything.

An audit whose settings are `InfluenceSettings` can be asked for it. A few models are trained from
scratch on random halves of the train pool, some queries measured under each, and every pair of rise
and damping says what it expected of that (`auditkit.truth.calibrate`). The audit's engine then has
the pair that is better than the default beyond chance, or the default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from auditkit import truth
from auditkit.context import AuditContext, InfluenceSettings, Settings
from auditkit.engine import ForwardINF
from auditkit.errors import AuditkitError, UsageError
from auditkit.pool import Pool
from auditkit.results import AuditResult
from auditkit.seeds import stream
from auditkit.showing import Section
from auditkit.subject import Recipe
from auditkit.truth.calibration import DAMPINGS, DEFAULT, RISES

TABLE = "calibration"
"""The name of the table in a run's folder."""

ASKED = 50
"""How many queries are measured under every model, at most."""

_FOLDER = "calibration"


@dataclass(frozen=True)
class Calibrated:
    """What calibration chose, and what the run keeps of it."""

    rise: float
    damping: float
    table: pl.DataFrame

    def added_to(self, result: AuditResult) -> AuditResult:
        """The audit's result with the choice in its summary and every pair in a table."""
        chosen = {"calibrated rise": self.rise, "calibrated damping": self.damping}
        return replace(
            result,
            summary={**result.summary, **chosen},
            tables={**result.tables, TABLE: self.table},
        )


def calibrated(
    context: AuditContext[Settings], settings: InfluenceSettings, make: Callable[[], ForwardINF]
) -> Calibrated:
    """Choose rise and damping for an audit's engine, and note in the report what speaks for them.

    Args:
        context: has the subject and the folder for unfinished work.
        settings: the audit's own, which ask for it.
        make: gives the engine to be calibrated, one that keeps what it has to say to itself.

    Raises:
        UsageError: there is no model.
        AuditkitError: the model cannot be trained anew (see `auditkit.truth.Retraining`).
    """
    subject = context.subject
    if subject.task is None:
        raise UsageError(
            f"The subject {subject.name} has no model, so there is nothing to calibrate: leave "
            "--calibrate out."
        )
    engine = make()
    queries, which = _asked(engine, subject.queries, subject.train, seed=context.seed)
    context.say(
        f"Calibrating: {settings.removals} models are trained from scratch, each for "
        f"{subject.recipe.epochs} epochs on half of the train pool."
    )
    if subject.recipe == Recipe():
        context.note(
            "The subject does not say how its model was trained, so the removal runs of the "
            "calibration trained by the default recipe (AdamW, a learning rate chosen by held-out "
            f"loss, {subject.recipe.epochs} epochs): give Subject(recipe=...) to calibrate on your "
            "own training.",
            level="warning",
        )
    retraining = replace(
        truth.Retraining.of(subject),
        queries=queries,
        seed=context.seed,
        device=context.device,
    )
    found = truth.calibrate(
        retraining,
        engine=lambda rise, damping: engine.configured(
            rise=rise, damping=damping, response=settings.response
        ),
        rises=RISES if settings.response == "finite" else (DEFAULT[0],),
        dampings=DAMPINGS,
        budget=settings.removals,
        folder=context.work() / _FOLDER,
        progress=context.progress,
    )
    context.note(f"Calibration on {which}: {found.advice}")
    return Calibrated(found.rise, found.damping, _table(found))


def section(result: AuditResult) -> Section | None:
    """The part of a report that shows a calibration; None for a run without one."""
    table = result.tables.get(TABLE)
    if table is None:
        return None
    chosen = table.filter(pl.col("chosen")).row(0, named=True)
    return Section(
        "Rise and damping, calibrated",
        paragraphs=(
            f"The scores were computed with rise {chosen['rise']:g} and damping "
            f"{chosen['damping']:g}.",
            "Models were trained from scratch on random halves of the train pool. For each pair of "
            "settings, the correlation is between what the scores predicted for the queries under "
            "these models and what was measured: Spearman's, over models, averaged over queries, "
            "with a 95 % interval. Another pair than the default is chosen only where it is better "
            "than the best of so many pairs would be by chance.",
        ),
        table=_shown(table.sort("correlation", descending=True, nulls_last=True)),
    )


def _shown(table: pl.DataFrame) -> pl.DataFrame:
    """The table as a report shows it: settings as they were given, and no empty column."""
    rows = [
        (
            f"{row['rise']:g}",
            f"{row['damping']:g}",
            "" if row["correlation"] is None else f"{row['correlation']:.2f}",
            "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}",
            bool(row["chosen"]),
            row["failure"],
        )
        for row in table.iter_rows(named=True)
    ]
    names = ["rise", "damping", "correlation", "interval", "chosen", "failure"]
    shown = pl.DataFrame(rows, schema=names, orient="row")
    return shown if table["failure"].null_count() < table.height else shown.drop("failure")


def _asked(engine: ForwardINF, queries: Pool | None, train: Pool, *, seed: int) -> tuple[Pool, str]:
    """What is measured under the models, and how to call it."""
    if queries is not None and queries is not train and _measurable(engine, queries):
        pool, what = queries, "queries"
    else:
        pool, what = train, "training examples as queries"
    count = min(ASKED, len(pool))
    places = np.sort(stream(seed, "queries of a calibration").permutation(len(pool))[:count])
    return pool.subset(places), f"{count} {what}"


def _measurable(engine: ForwardINF, queries: Pool) -> bool:
    """Whether the model can be measured on them: an evaluation set need not have labels."""
    try:
        engine.evaluate(queries.subset([0]))
    except AuditkitError:
        return False
    return True


def _table(found: truth.Calibration) -> pl.DataFrame:
    rows = [
        (
            cell.rise,
            cell.damping,
            *(None if np.isnan(v) else v for v in (cell.correlation, cell.low, cell.high)),
            (cell.rise, cell.damping) == (found.rise, found.damping),
            cell.failure,
        )
        for cell in found.cells
    ]
    schema = {
        "rise": pl.Float64(),
        "damping": pl.Float64(),
        "correlation": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "chosen": pl.Boolean(),
        "failure": pl.String(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
