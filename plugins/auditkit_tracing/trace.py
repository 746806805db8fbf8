"""One run of the audit: ask, measure, judge, search beside, confirm."""

from __future__ import annotations

import polars as pl

from auditkit import AuditResult
from auditkit_tracing import (
    chance,
    confirm,
    groups,
    judging,
    marking,
    measuring,
    predictions,
    results,
    retrieval,
    tables,
    texts,
    traced,
)
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.measuring import Examples, Scorer
from auditkit_tracing.predictions import Seen
from auditkit_tracing.settings import Context
from auditkit_tracing.traced import Traced


def trace(context: Context) -> AuditResult:
    """Trace every behaviour; see `TracingAudit.audit`."""
    settings, train = context.settings, context.subject.train
    whole = measuring.examples(train)
    # What cannot be compared by is refused before anything is computed.
    values = None if settings.by is None else groups.values_of(train.metadata, settings.by, whole)
    seen = None if context.task.likelihood == "tokens" else predictions.look(context)
    asked = texts.asked(context) if seen is None else predictions.asked(context, seen)
    itself = measuring.queries_themselves(asked, train, whole)
    confirm.check(context, asked, whole, itself)
    scoring = measuring.scorer(context)
    check = scoring.engine.self_check(together=scoring.reads == "both")
    found = measuring.measured(scoring, asked.pool, whole, groups=asked.groups, itself=itself)
    by_chance = _chance(context, scoring, asked, seen, whole)
    run = Traced(
        context=context,
        asked=asked,
        whole=whole,
        found=found,
        judged=judging.judge(found, by_chance),
        chance=by_chance,
        retrieved=retrieval.retrieved(context, asked, whole),
        values=values,
    )
    rows = tables.rows(run)
    return results.result(run, rows, _tables(run, rows, scoring), check)


def _chance(
    context: Context, scoring: Scorer, asked: Asked, seen: Seen | None, whole: Examples
) -> chance.Chance | None:
    """What decoys score; None where none are to be traced, or none can be made."""
    if not context.settings.decoys:
        return None
    if seen is None:
        decoys = chance.other_texts(context, asked)
    else:
        decoys = chance.other_classes(context, seen, asked)
    if decoys is None:
        return None
    of_train = seen is not None and seen.name == "train"
    return chance.chance(context, scoring.quiet(), decoys, whole, of_train=of_train)


def _tables(run: Traced, rows: pl.DataFrame, scoring: Scorer) -> dict[str, pl.DataFrame]:
    """The tables that are stored beside the findings; retrains, if that was asked for."""
    context, asked = run.context, run.asked
    made = {"behaviours": tables.behaviours(run), "spread": tables.spread(run)}
    if scoring.by_token:
        shown = rows.filter(rows["place"] <= marking.MARKED)
        made["marks"] = marking.marked(context, scoring.quiet(), asked, shown)
    if run.values is not None:
        made["groups"] = groups.by_groups(
            traced.pulls(run),
            traced.flags(run),
            run.values,
            list(asked.behaviours),
            seed=context.seed,
        )
    if context.settings.confirm:
        made["confirm"] = confirm.confirm(context, asked, traced.order(run), run.whole)
    return made
