"""Which examples are memorized rather than learnt? The audit: measure, judge, put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import Audit, AuditResult, Findings, Requirements, Section
from auditkit.errors import SettingError
from auditkit_memorization import pairs, texts
from auditkit_memorization.confirm import Confirmation, confirm, left_out
from auditkit_memorization.groups import by_groups, check_column
from auditkit_memorization.judging import Judged, judge
from auditkit_memorization.settings import Context, MemorizationSettings
from auditkit_memorization.verdicts import VERDICTS


class MemorizationAudit(Audit[MemorizationSettings]):
    """Every example of the train pool: memorized, or learnt from the others?

    Queries, where the subject has them, are evaluation examples: which of them lean on memorized
    training examples is asked too.
    """

    name = "memorization"
    title = "Memorized examples"
    question = "Which examples are memorized rather than learnt?"
    fail_on = "estimated share of memorized examples"
    requirements = Requirements(
        likelihood=("categorical", "tokens"), queries="optional", language=True
    )
    settings = MemorizationSettings

    def audit(self, context: Context) -> AuditResult:
        """Hold out, train on halves, judge, look for groups and pairs, and confirm if asked.

        Raises:
            LabelError: fewer than two classes among the labels, or not one name per class.
            ColumnError: the column to compare groups by does not exist or has too many values.
            SettingError: `leave_out` leaves no example out.
            PoolError: the queries are of another form than the training examples.
        """
        settings, subject = context.settings, context.subject
        _warn_of_the_train_pool_as_queries(context)
        if context.task.likelihood == "tokens":
            return texts.audit_texts(context)
        if settings.canaries is not None:
            raise SettingError(
                "Canaries were given, and the subject is no language model: leave them out."
            )
        if subject.queries is not None:
            subject.train.joined(subject.queries)  # refuses another form
        if settings.confirm:
            left_out(settings.leave_out, len(subject.train))
        check_column(subject.train.metadata, settings.by)
        judged = judge(context)
        memorization = judged.estimate.memorization
        flagged = memorization >= settings.threshold
        groups = by_groups(
            judged.names[judged.labels],
            subject.train.metadata,
            memorization,
            flagged,
            judged.verdict,
            by=settings.by,
        )
        _say_what_was_used(context)
        leaning = pairs.leaning(context, np.flatnonzero(flagged), most=settings.pairs)
        confirmed = None
        if settings.confirm:
            confirmed = confirm(
                context, memorization, share=settings.leave_out, seeds=settings.confirm_seeds
            )
        return _result(context, judged, groups, leaning, confirmed)

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """How much is memorized, which examples, in which groups, and what leans on them."""
        from auditkit_memorization import sections, text_sections  # noqa: PLC0415 - draws

        if "verbatim_tokens" in result.findings.frame.columns:
            return text_sections.sections(result)
        return sections.sections(result)


def _warn_of_the_train_pool_as_queries(context: Context) -> None:
    from auditkit import same_examples  # noqa: PLC0415 - brings torch

    queries = context.subject.queries
    if queries is not None and same_examples(context.subject.train, queries):
        context.note(
            "The evaluation set is the train pool itself: a memorized example then leans on itself "
            "above all, and accuracies are those of examples that were trained on. Give examples "
            "that the model was not trained on.",
            level="warning",
        )


def _say_what_was_used(context: Context) -> None:
    """Notes on what the subject brought and the audit could or could not use."""
    settings, queries = context.settings, context.subject.queries
    if queries is None:
        context.note(
            "No evaluation examples were given, so which of them lean on memorized examples was "
            "not asked: give a second path, or `Subject(queries=...)`."
        )
    elif len(queries) > settings.pairs > 0:
        context.note(
            f"Of {len(queries):,} evaluation examples, {settings.pairs:,} drawn at random were "
            "asked which memorized examples they lean on (setting `pairs`)."
        )
    if not settings.retrainings:
        context.note(
            "No model was trained from scratch (setting `retrainings`), so the estimates are not "
            "calibrated, and no probabilities are given.",
            level="warning",
        )


def _result(
    context: Context,
    judged: Judged,
    groups: pl.DataFrame,
    leaning: pl.DataFrame,
    confirmed: Confirmation | None,
) -> AuditResult:
    findings = _findings(context, judged, leaning)
    count, flagged = len(findings), findings.flagged.height
    expected = float(findings.frame["probability"].sum()) if _claims(findings) else float(flagged)
    kinds: dict[str, int] = {str(name): int((judged.verdict == name).sum()) for name in VERDICTS}
    tables = {"groups": groups, "pairs": leaning, "correlations": _correlations(findings)}
    if confirmed is not None:
        tables |= {"accuracies": confirmed.levels, "differences": confirmed.differences}
    return AuditResult(
        findings=findings,
        answer=_answer(expected, flagged, count, kinds, context.settings.threshold),
        rate=expected / count,
        summary={
            "estimated memorized examples": expected,
            "flagged": flagged,
            **dict(list(kinds.items())[:2]),
            "examples judged": count,
            **dict(list(kinds.items())[2:]),
            "threshold": context.settings.threshold,
            "trainings from scratch": context.settings.retrainings,
            "reliability of the ranking": judged.reliability,
            "evaluation examples asked": _number_asked(context),
            "evaluation examples that lean": leaning["query_id"].n_unique(),
            "left out to confirm": None if confirmed is None else confirmed.left_out,
            "confirmed on": None if confirmed is None else confirmed.judged_on,
        },
        tables=tables,
    )


def _findings(context: Context, judged: Judged, leaning: pl.DataFrame) -> Findings:
    found, names, train = judged.estimate, judged.names, context.subject.train
    rows = np.arange(len(train))
    columns: dict[str, pl.Series | npt.NDArray[np.generic] | Sequence[object]] = {
        "verdict": judged.verdict,
        "given_label": names[judged.labels],
        "held_out_label": names[judged.said.label],
        "probability_with": found.with_it,
        "probability_without": found.without,
        "wrong_label_probability": judged.said.wrong_probability,
        "training_loss": -judged.tables[0].inside[rows, judged.labels].astype(np.float64),
    }
    if _number_asked(context):
        times = leaning.group_by("example_id").len()
        known = dict(times.iter_rows())
        columns["leaning_examples"] = [known.get(name, 0) for name in train.ids]
    return Findings.ranked(
        train.ids,
        found.memorization,
        probability=found.probability,
        flagged=found.memorization >= context.settings.threshold,
        columns=columns,
    )


def _claims(findings: Findings) -> bool:
    return bool(findings.frame["probability"].is_not_null().any())


def _number_asked(context: Context) -> int:
    queries = pairs.asked(context, most=context.settings.pairs)
    return 0 if queries is None else len(queries)


def _correlations(findings: Findings) -> pl.DataFrame:
    """How cheaper numbers rank the examples, against the audit: Spearman's correlation."""
    from scipy.stats import spearmanr  # noqa: PLC0415 - slow to import

    frame = findings.frame
    rows = []
    for name, column in (("training loss", "training_loss"),):
        values = frame[column].to_numpy()
        varies = np.ptp(values) > 0 and np.ptp(frame["score"].to_numpy()) > 0
        rows.append((name, float(spearmanr(values, frame["score"])[0]) if varies else None))
    return pl.DataFrame(
        rows, schema={"baseline": pl.String(), "correlation": pl.Float64()}, orient="row"
    )


def _answer(
    expected: float, flagged: int, count: int, kinds: Mapping[str, int], threshold: float
) -> str:
    if not flagged and round(expected) == 0:
        return f"None of the {count:,} training examples is memorized rather than learnt."
    share = f"About {round(expected):,} of {count:,} training examples ({expected / count:.1%})"
    wrong, rare = kinds["mislabelled"], kinds["rare but right"]
    looks = "looks" if wrong == 1 else "look"
    return (
        f"{share} are memorized rather than learnt; of the {flagged:,} flagged (memorization of "
        f"{threshold:g} or more), {wrong:,} {looks} mislabelled and {rare:,} rare but right."
    )
