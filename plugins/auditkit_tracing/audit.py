"""Which training examples taught this behaviour? The audit: ask, measure, judge, confirm."""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import Audit, AuditResult, Requirements, Section
from auditkit_tracing.settings import Context, TracingSettings


class TracingAudit(Audit[TracingSettings]):
    """What a classifier predicts, or a language model writes, traced to its training examples.

    Queries, where the subject has them, are the examples whose predictions may be asked about.
    """

    name = "tracing"
    title = "Behaviours traced to training examples"
    question = "Which training examples taught this behaviour?"
    fail_on = "share of the behaviours that training examples stand out for"
    requirements = Requirements(
        likelihood=("categorical", "tokens"), queries="optional", language=True, labels="optional"
    )
    settings = TracingSettings

    def audit(self, context: Context) -> AuditResult:
        """Trace every behaviour, beside what search finds, and retrain if asked.

        Raises:
            SettingError: a query, prompt or completion that cannot be traced.
            UsageError: nothing is asked about, or by settings of another kind of model.
            UnreadableError: the file of queries cannot be read.
            ColumnError: the column to compare groups by does not exist or has too many values.
        """
        from auditkit_tracing import (  # noqa: PLC0415 - heavy, for `--help`
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

        settings, train = context.settings, context.subject.train
        speaks = context.task.likelihood == "tokens"
        whole = measuring.examples(train)
        values = None
        if settings.by is not None:
            values = groups.values_of(train.metadata, settings.by, whole)
        seen = None if speaks else predictions.look(context)
        asked = texts.asked(context) if seen is None else predictions.asked(context, seen)
        scoring = measuring.scorer(context)
        check = scoring.engine.self_check()
        found = measuring.measured(scoring, asked.pool, whole, groups=asked.groups)
        by_chance = None
        if settings.decoys:
            decoys = (
                chance.other_texts(context, asked)
                if seen is None
                else chance.other_classes(context, seen, asked)
            )
            if decoys is not None:
                of_train = seen is not None and seen.name == "train"
                by_chance = chance.chance(context, scoring, decoys, whole, of_train=of_train)
        itself = measuring.queries_themselves(asked, train, whole)
        judged = judging.judge(found, by_chance, itself)
        near = retrieval.retrieved(context, asked, whole)
        run = traced.Traced(context, asked, whole, found, judged, by_chance, near, values, itself)
        rows = tables.rows(run)
        made = {"behaviours": tables.behaviours(run), "spread": tables.spread(run)}
        if scoring.by_token:
            shown = rows.filter(rows["place"] <= marking.MARKED)
            made["marks"] = marking.marked(context, scoring, asked, shown)
        if values is not None:
            made["groups"] = groups.by_groups(
                traced.of_others(run),
                traced.flags(run),
                values,
                list(asked.behaviours),
                seed=context.seed,
            )
        if settings.confirm:
            made["confirm"] = confirm.confirm(context, asked, traced.order(run), whole)
        return results.result(run, rows, made, check)

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """Each behaviour with its proponents, opponents and sources, and how far to trust it."""
        from auditkit_tracing import sections  # noqa: PLC0415 - draws

        return sections.sections(result)
