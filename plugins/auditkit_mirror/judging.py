"""From both influences to findings, a verdict and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from auditkit import AuditContext, AuditResult, Findings
from auditkit_mirror.agreement import Agreement, scaled
from auditkit_mirror.choosing import best_setting, settings_table, sizes_table
from auditkit_mirror.comparisons import (
    Line,
    by_group,
    by_query,
    by_seeds,
    correlations,
    lines_of,
    points,
)
from auditkit_mirror.measured import Measured, MirrorSettings
from auditkit_mirror.network import NetworkStudy

Table = npt.NDArray[np.float64]

GOOD, FAIR = 0.9, 0.7
"""Mean Pearson correlations from which on the directions agree, and agree roughly."""

TYPICAL = 1.0
"""Influence in units of its root mean square: what is smaller is not flagged."""


def judged(context: AuditContext[MirrorSettings], measured: Measured) -> AuditResult:
    """The result of a run."""
    lines = lines_of(measured)
    settings = settings_table(context, measured)
    published, convex, network = lines[0].found, lines[1].found, measured.network
    tables = {
        "correlations": correlations(lines),
        "queries": by_query(measured),
        "points": points(measured),
        "settings": settings,
        "sizes": sizes_table(measured),
    }
    worst = convex.pearson.mean
    if network is not None:
        tables |= {"groups": by_group(network), "seeds": by_seeds(network)}
        worst = min(worst, lines[-1].found.pearson.mean)
    return AuditResult(
        findings=_findings(context, measured),
        answer=_answer(measured, convex, None if network is None else lines[-1].found),
        rate=float(np.clip(1 - worst, 0, 1)),
        summary={
            "mean Pearson correlation": convex.pearson.mean,
            "mean Spearman correlation": convex.spearman.mean,
            "mean Pearson correlation as published": published.pearson.mean,
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


def _findings(context: AuditContext[MirrorSettings], measured: Measured) -> Findings:
    """How far the directions part for each training example that was left out."""
    mirror, problem = measured.mirror, measured.probe.problem
    left, right = scaled(mirror.train_to_test), scaled(mirror.kept)
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


def _places(side: Table) -> Table:
    """Ranks from 0 to 1, [query, row]."""
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import

    found: Table = (rankdata(side, axis=1) - 1) / max(side.shape[1] - 1, 1)
    return found
