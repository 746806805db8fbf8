"""From both influences to findings, a verdict and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import rankdata

from auditkit import AuditContext, AuditResult, Findings
from auditkit_mirror.agreement import Agreement, agreement
from auditkit_mirror.approximators import descent, influence_functions, safe_rate, tracin
from auditkit_mirror.continual import (
    Setting,
    Tried,
    linear_scores,
    retrained_together,
    try_settings,
)
from auditkit_mirror.study import Asked

if TYPE_CHECKING:
    from auditkit_mirror.audit import Measured, MirrorSettings
    from auditkit_mirror.network import NetworkStudy

Table = npt.NDArray[np.float64]

GOOD, FAIR = 0.9, 0.7
"""Mean Pearson correlations from which on the directions agree, and agree roughly."""

TYPICAL = 1.0
"""Influence in units of its root mean square: what is smaller is not flagged."""

SHOWN_POINTS = 250
SHARES = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Numbers of queries against training examples for which both directions are compared."""

CHECKPOINTS = (1, 10, 100)
RATE = 1e-3
"""The step of TracIn against the largest at which gradient descent converges."""


@dataclass(frozen=True)
class Line:
    """One row of the table of correlations."""

    setting: str
    compared: str
    found: Agreement


def judged(context: AuditContext[MirrorSettings], measured: Measured) -> AuditResult:
    """The result of a run."""
    lines = list(_lines(measured))
    settings = _settings(context, measured)
    convex, network = lines[0].found, measured.network
    tables = {
        "correlations": _correlations(lines),
        "queries": _queries(measured),
        "points": _points(measured),
        "settings": settings,
        "sizes": _sizes(measured),
    }
    worst = convex.pearson.mean
    if network is not None:
        tables |= {"groups": _groups(network), "seeds": _by_seeds(network)}
        worst = min(worst, lines[-1].found.pearson.mean)
    return AuditResult(
        findings=_findings(context, measured),
        answer=_answer(measured, convex, None if network is None else lines[-1].found),
        rate=float(np.clip(1 - worst, 0, 1)),
        summary={
            "mean Pearson correlation": convex.pearson.mean,
            "mean Spearman correlation": convex.spearman.mean,
            "training examples left out": measured.probe.problem.rows,
            "queries": len(measured.asked.inputs),
            "weights of the linear model": measured.probe.problem.weights,
            "Newton steps of a retraining": float(measured.mirror.steps.mean()),
            **_network_summary(lines, network),
            "best engine setting": best_setting(settings)[0],
            "minutes a study of groups would need": measured.plan.more_minutes,
        },
        tables=tables,
    )


def _network_summary(
    lines: Sequence[Line], network: NetworkStudy | None
) -> Mapping[str, float | int]:
    if network is None:
        return {"groups left out": 0}
    return {
        "groups left out": network.mirror.train_to_test.shape[1],
        "retrainings of each group": len(network.mirror.train_to_test),
        "examples in a group": network.group_size,
        "Pearson correlation over groups": lines[-1].found.pearson.mean,
        "Spearman correlation over groups": lines[-1].found.spearman.mean,
    }


def _answer(measured: Measured, convex: Agreement, groups: Agreement | None) -> str:
    worst = min(convex.pearson.mean, 1.0 if groups is None else groups.pearson.mean)
    verdict = (
        "agree" if worst >= GOOD else "agree roughly" if worst >= FAIR else "do not agree well"
    )
    count = len(measured.asked.inputs)
    text = (
        f"The two directions of influence {verdict} here: their correlation is "
        f"{convex.pearson.mean:.2f} over {count} {'query' if count == 1 else 'queries'} on a "
        "linear model of the features"
    )
    if groups is None:
        return f"{text}; the model itself was not retrained."
    number = measured.network.mirror.train_to_test.shape[1] if measured.network else 0
    return f"{text}, and {groups.pearson.mean:.2f} over {number} groups with the model retrained."


def _lines(measured: Measured) -> Sequence[Line]:
    """What was compared with what; the published comparison first, the network last."""
    mirror, optimum, asked = measured.mirror, measured.optimum, measured.asked
    formulas = influence_functions(optimum, asked)
    rate = RATE * safe_rate(optimum.problem)
    steps = tracin(optimum.problem, asked, descent(optimum.problem, steps=CHECKPOINTS), rate=rate)
    rows, queries = mirror.train_to_test.shape[1], mirror.train_to_test.shape[0]
    what = f"{rows:,} examples, {queries} {'query' if queries == 1 else 'queries'}"
    pairs = [
        ("retrained, as published", mirror.train_to_test, mirror.test_to_train),
        ("retrained, the query does not strengthen the regularizer", mirror.train_to_test,
         mirror.kept),
        ("retrained, and put in to a hundredth", mirror.train_to_test, mirror.limit),
        ("influence functions, both directions", formulas.train_to_test, formulas.test_to_train),
        ("TracIn, both directions", steps.train_to_test, steps.test_to_train),
        ("influence function against leaving out", mirror.train_to_test, formulas.train_to_test),
    ]  # fmt: skip
    lines = [Line(name, what, agreement(left, right)) for name, left, right in pairs]
    if measured.network is not None:
        found = measured.network.mirror
        sides = (found.train_to_test.mean(axis=0), found.test_to_train.mean(axis=0))
        text = f"{len(sides[0])} groups, {len(found.train_to_test)} retrainings each"
        lines.append(Line("the model itself, retrained without groups", text, agreement(*sides)))
    return lines


def _correlations(lines: Sequence[Line]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "setting": line.setting,
                "compared": line.compared,
                "Pearson": line.found.pearson.mean,
                "from": line.found.pearson.mean_low,
                "to": line.found.pearson.mean_high,
                "Spearman": line.found.spearman.mean,
                "rank from": line.found.spearman.mean_low,
                "rank to": line.found.spearman.mean_high,
            }
            for line in lines
        ]
    )


def _queries(measured: Measured) -> pl.DataFrame:
    """Correlations query by query."""
    mirror = measured.mirror
    published, kept, limit = (
        agreement(mirror.train_to_test, side, resamples=200)
        for side in (mirror.test_to_train, mirror.kept, mirror.limit)
    )
    return pl.DataFrame(
        {
            "query": np.arange(1, len(mirror.train_to_test) + 1),
            "Pearson": published.pearson.each,
            "from": published.pearson.low,
            "to": published.pearson.high,
            "Spearman": published.spearman.each,
            "Spearman, regularizer kept": kept.spearman.each,
            "Spearman, small changes": limit.spearman.each,
        }
    )


def _points(measured: Measured) -> pl.DataFrame:
    """Points of a few queries, in units of each side's root mean square."""
    mirror, frames = measured.mirror, []
    for query in range(min(3, len(mirror.train_to_test))):
        left, right = (
            _scaled(side)[query] for side in (mirror.train_to_test, mirror.test_to_train)
        )
        order = np.argsort(-np.abs(left), kind="stable")
        strongest = order[: SHOWN_POINTS // 2]
        others = order[SHOWN_POINTS // 2 :]
        step = max(1, len(others) * 2 // SHOWN_POINTS)
        chosen = np.concatenate([strongest, others[::step]])
        frames.append(
            pl.DataFrame(
                {
                    "query": np.full(len(chosen), query + 1),
                    "train to test": left[chosen],
                    "test to train": right[chosen],
                }
            )
        )
    return pl.concat(frames)


def _groups(network: NetworkStudy) -> pl.DataFrame:
    found = network.mirror
    return pl.DataFrame(
        {
            "wrong labels": found.ratios,
            "train to test": found.train_to_test.mean(axis=0),
            "test to train": found.test_to_train.mean(axis=0),
        }
    )


def _by_seeds(network: NetworkStudy) -> pl.DataFrame:
    """Correlations over groups with more and more retrainings averaged."""
    found, rows = network.mirror, []
    for count in range(1, len(found.train_to_test) + 1):
        both = agreement(
            found.train_to_test[:count].mean(axis=0),
            found.test_to_train[:count].mean(axis=0),
            resamples=200,
        )
        rows.append(
            {
                "retrainings": count,
                "Pearson": both.pearson.mean,
                "from": float(both.pearson.low[0]),
                "to": float(both.pearson.high[0]),
                "Spearman": both.spearman.mean,
            }
        )
    return pl.DataFrame(rows)


def _settings(context: AuditContext[MirrorSettings], measured: Measured) -> pl.DataFrame:
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


def _sizes(measured: Measured) -> pl.DataFrame:
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


def _findings(context: AuditContext[MirrorSettings], measured: Measured) -> Findings:
    """How far the directions part for each training example that was left out."""
    mirror, problem = measured.mirror, measured.probe.problem
    left, right = _scaled(mirror.train_to_test), _scaled(mirror.test_to_train)
    apart = np.abs(left - right).mean(axis=0)
    ranks = np.abs(_places(left) - _places(right)).mean(axis=0)
    sizes = np.sqrt((left**2).mean(axis=0) / 2 + (right**2).mean(axis=0) / 2)
    opposed = (left * right).mean(axis=0) < 0
    losses = problem.family.loss(problem.inputs @ measured.optimum.weights, problem.targets)
    ids = context.subject.train.ids
    return Findings.ranked(
        [ids[place] for place in measured.probe.rows],
        apart,
        flagged=opposed & (sizes >= TYPICAL),
        columns={
            "train_to_test": mirror.train_to_test.mean(axis=0),
            "test_to_train": mirror.test_to_train.mean(axis=0),
            "influence": sizes,
            "rank_difference": ranks,
            "linear_loss": losses,
        },
    )


def _scaled(side: Table) -> Table:
    """Each query's influences in units of their root mean square."""
    size = np.sqrt((side**2).mean(axis=1, keepdims=True))
    found: Table = np.divide(side, size, out=np.zeros_like(side), where=size > 0)
    return found


def _places(side: Table) -> Table:
    """Ranks from 0 to 1, [query, row]."""
    found: Table = (rankdata(side, axis=1) - 1) / max(side.shape[1] - 1, 1)
    return found


def _pearson(left: Table, right: Table) -> float:
    return agreement(left, right, resamples=1).pearson.mean
