"""Which of the engine's settings a run supports, and for how many queries at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import AuditContext
from auditkit_mirror.agreement import pearson
from auditkit_mirror.approximators import influence_functions
from auditkit_mirror.continual import (
    Setting,
    Tried,
    linear_scores,
    retrained_together,
    try_settings,
)
from auditkit_mirror.measured import Measured, MirrorSettings
from auditkit_mirror.study import Asked

Table = npt.NDArray[np.float64]

SHARES = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Numbers of queries against training examples for which both directions are compared."""


def settings_table(context: AuditContext[MirrorSettings], measured: Measured) -> pl.DataFrame:
    """The engine's settings against leaving out: on the linear model, and on groups."""
    tried = try_settings(
        measured.mirror.train_to_test,
        linear_scores(measured.optimum, measured.asked, seed=context.seed),
        retrained=measured.mirror.test_to_train,
        progress=context.progress,
    )
    rows = [_row("linear model", each) for each in tried]
    if measured.network is not None:
        rows += [_row("groups", each) for each in measured.network.tried]
    return pl.DataFrame(rows, schema=_SETTINGS_SCHEMA)


_SETTINGS_SCHEMA = {
    "judged on": pl.String(), "setting": pl.String(), "Pearson": pl.Float64(),
    "from": pl.Float64(), "to": pl.Float64(), "Spearman": pl.Float64(),
    "default": pl.Boolean(), "engine": pl.Boolean(), "failure": pl.String(),
}  # fmt: skip


def _row(judged_on: str, tried: Tried) -> dict[str, object]:
    found = tried.agreement
    default = tried.setting in (Setting("auto"), Setting("ggn"))
    return {
        "judged on": judged_on,
        "setting": tried.name,
        "Pearson": None if found is None else found.pearson.mean,
        "from": None if found is None else found.pearson.mean_low,
        "to": None if found is None else found.pearson.mean_high,
        "Spearman": None if found is None else found.spearman.mean,
        "default": default,
        "engine": tried.setting is not None,
        "failure": tried.failure,
    }


def best_setting(settings: pl.DataFrame) -> tuple[str, str]:
    """The setting this run supports, and on what it was judged: groups where there are any."""
    engine = settings.filter(pl.col("engine") & pl.col("Pearson").is_not_null())
    judged_on = "groups" if "groups" in engine["judged on"] else "linear model"
    own = engine.filter(pl.col("judged on") == judged_on).sort(
        "Pearson", descending=True, nulls_last=True
    )
    if own.is_empty():
        return "none", judged_on
    default = own.filter(pl.col("default"))
    best = own.row(0, named=True)
    if not default.is_empty() and best["from"] <= default["Pearson"][0]:
        return str(default["setting"][0]), judged_on
    return str(best["setting"]), judged_on


def sizes_table(measured: Measured) -> pl.DataFrame:
    """Both directions where more and more queries are put in at once."""
    candidates, rows = measured.probe.candidates, measured.probe.problem.rows
    found = []
    counts = sorted({min(len(candidates.inputs), max(1, round(part * rows))) for part in SHARES})
    for count in counts:
        part = Asked(candidates.inputs[:count], candidates.targets[:count])
        truth = measured.mirror.others[:count].mean(axis=0)
        formulas = influence_functions(measured.optimum, part, together=True)
        scores = linear_scores(measured.optimum, part, together=True)(Setting("ggn"))[0]
        found.append(
            {
                "queries": count,
                "share of training": count / rows,
                "retrained with them": _pearson(truth, retrained_together(measured.optimum, part)),
                "one update of the engine": _pearson(truth, scores),
                "gap of the formulas": formulas.gap,
            }
        )
    return pl.DataFrame(found)


def _pearson(left: Table, right: Table) -> float:
    """The linear correlation of two rows."""
    return float(pearson(left, right))
