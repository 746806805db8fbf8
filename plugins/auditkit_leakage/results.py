"""From evidence, judgement and the model's opinion to findings, numbers and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import AuditContext, AuditResult, Findings, Pool
from auditkit_leakage import answer, metric, tables
from auditkit_leakage.asking import Opinion, label_names
from auditkit_leakage.evidence import Evidence
from auditkit_leakage.judgement import Judgement
from auditkit_leakage.marks import marks_frame
from auditkit_leakage.shown import shown_pairs

if TYPE_CHECKING:
    from auditkit_leakage.audit import LeakageSettings

Context: TypeAlias = "AuditContext[LeakageSettings]"
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Labels:
    """The names of labels; None where they are not known."""

    train: tuple[str, ...] | None
    judged: tuple[str, ...] | None


def result(
    context: Context,
    queries: Pool | None,
    found: Evidence,
    judgement: Judgement,
    opinion: Opinion | None,
) -> AuditResult:
    """What the audit returns.

    Args:
        context: of the run.
        queries: the evaluation set; None where the train pool was compared with itself.
        found: what the search found.
        judgement: probabilities.
        opinion: what the model says; None without a model.
    """
    judged = context.subject.train if queries is None else queries
    ours = label_names(context, context.subject.train)
    labels = Labels(ours, _judged_labels(context, queries, opinion, ours))
    flagged = judgement.probability >= context.settings.threshold
    findings = _findings(
        context, judged, found, judgement, opinion=opinion, labels=labels, flagged=flagged
    )
    compared = None
    if queries is not None and opinion is not None and opinion.metric is not None:
        compared = metric.compare(*opinion.metric, flagged, seed=context.seed)
    answer.warn(context, found, judgement, queries)
    train = context.subject.train
    within = tables.clusters_frame(
        train, found, labels=labels.train, threshold=context.settings.threshold
    )
    return AuditResult(
        findings=findings,
        answer=answer.sentence(found, judgement, compared, alone=queries is None),
        rate=min(1.0, judgement.count / len(judged)),
        summary=_summary(found, judgement, compared, findings, within),
        tables={
            "pairs": tables.pairs_frame(train, judged, found, judgement),
            "recovery": found.recovery,
            "metric": tables.metric_frame(compared),
            "agreement": tables.agreement_frame(findings.frame),
            "duplicates": within,
            "distances": tables.distances_frame(found),
            "marks": marks_frame(judged, train, shown_pairs(findings.frame)),
        },
        judged="train" if queries is None else "queries",
    )


def _judged_labels(
    context: Context,
    queries: Pool | None,
    opinion: Opinion | None,
    ours: tuple[str, ...] | None,
) -> tuple[str, ...] | None:
    if queries is None:
        return ours
    if opinion is not None and opinion.predicted:
        return None
    if queries.label is None and opinion is not None:
        return opinion.labels
    return label_names(context, queries) if queries.label is not None else None


def _findings(
    context: Context,
    judged: Pool,
    found: Evidence,
    judgement: Judgement,
    *,
    opinion: Opinion | None,
    labels: Labels,
    flagged: Bools,
) -> Findings:
    """One row per evaluation example, nearest first among those of one probability.

    The score is the probability. Where that is not known it is below zero, down to -1, the lower
    the farther the nearest training example lies: what is identical ranks above it.
    """
    best, train = found.best, context.subject.train
    there = best.pair >= 0
    kinds = [found.found.kind[pair] if pair >= 0 else None for pair in best.pair]
    other = [train.ids[place] if place >= 0 else None for place in best.train]
    similarity = np.where(there, found.found.similarity[best.pair], np.nan)
    columns: dict[str, pl.Series] = {
        "other_id": pl.Series(other, dtype=pl.String()),
        "kind": pl.Series(kinds, dtype=pl.String()),
        "similarity": _numbers(similarity),
        "distance": _numbers(np.where(there, best.distance, np.nan)),
        "false_discovery_rate": _numbers(judgement.discovery),
        "identical": pl.Series(best.identical),
    }
    if labels.judged is not None:
        columns["label"] = pl.Series(labels.judged, dtype=pl.String())
    if labels.train is not None:
        names = [labels.train[place] if place >= 0 else None for place in best.train]
        columns["other_label"] = pl.Series(names, dtype=pl.String())
    if opinion is not None:
        columns |= _opinion_columns(opinion, context, len(judged))
    score = np.where(
        np.isnan(judgement.probability), 1 / (1 + best.distance) - 1, judgement.probability
    )
    order = np.lexsort((best.distance, ~best.identical, -score))
    return Findings.ranked(
        [judged.ids[place] for place in order],
        score[order],
        probability=judgement.probability[order],
        flagged=flagged[order],
        columns={name: column.gather(order) for name, column in columns.items()},
    )


def _opinion_columns(opinion: Opinion, context: Context, count: int) -> dict[str, pl.Series]:
    columns: dict[str, pl.Series] = {}
    if opinion.metric is not None:
        name = "correct" if opinion.metric[0] == metric.ACCURACY else "squared_error"
        value = opinion.metric[1]
        columns[name] = pl.Series(value > 0) if name == "correct" else _numbers(value)
    if opinion.predicted and opinion.labels is not None:
        columns["predicted"] = pl.Series(opinion.labels, dtype=pl.String())
    if opinion.margin is not None:
        columns["margin"] = _numbers(opinion.margin)
    treated = opinion.treated
    if treated is not None:

        def spread(values: npt.NDArray[np.generic]) -> Floats:
            whole = np.full(count, np.nan)
            whole[opinion.asked] = values
            return whole

        if opinion.nearness is not None:
            columns["feature_rank"] = _numbers(spread(opinion.nearness)).cast(pl.Int64)
        columns["influence_rank"] = _numbers(spread(treated.rank)).cast(pl.Int64)
        columns["influence_percentile"] = _numbers(spread(treated.percentile))
        columns["margin_carried"] = _numbers(spread(treated.carried))
        if context.settings.whole:
            first = [context.subject.train.ids[place] for place in treated.first]
            names = np.full(count, None, dtype=object)
            names[opinion.asked] = first
            columns["most_influential_id"] = pl.Series(names.tolist(), dtype=pl.String())
    return columns


def _numbers(values: npt.NDArray[np.floating]) -> pl.Series:
    return pl.Series(values.astype(np.float64)).fill_nan(None)


def _summary(
    found: Evidence,
    judgement: Judgement,
    compared: metric.Compared | None,
    findings: Findings,
    within: pl.DataFrame,
) -> dict[str, float | int | None]:
    frame = findings.frame
    conflicting = within.filter(pl.col("conflicting"))["cluster"].n_unique()
    summary: dict[str, float | int | None] = {
        "estimated leaked": judgement.count,
        "estimated leaked, lowest": judgement.low,
        "estimated leaked, highest": None if np.isnan(judgement.high) else judgement.high,
        "flagged": findings.flagged.height,
        "identical": int(found.best.identical.sum()),
        "identical by chance perhaps": int((found.best.identical & found.poor).sum()),
        "altered copies judged": judgement.mixture.ratio is not None,
        "examples judged": frame.height,
        "clusters in the train pool": within["cluster"].n_unique(),
        "training examples in clusters": within.height,
        "clusters with conflicting labels": conflicting,
    }
    if {"label", "other_label"} <= set(frame.columns):
        other = frame.filter(pl.col("flagged") & (pl.col("label") != pl.col("other_label")))
        summary["flagged under another label"] = other.height
    if compared is not None:
        summary[f"{compared.name} on all"] = compared.whole
        summary[f"{compared.name} on clean only"] = compared.clean
    return summary
