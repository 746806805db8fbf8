"""From a stored run and its sections to the context its templates use."""

from __future__ import annotations

from collections.abc import Sequence

from auditkit.report import page
from auditkit.report.charts import to_svg
from auditkit.report.context import (
    FactGroup,
    NoteView,
    RepeatView,
    ReportContext,
    SelfCheckView,
    SubjectView,
)
from auditkit.report.galleries import gallery_views
from auditkit.report.previews import Previews
from auditkit.report.table import findings_view, table_view
from auditkit.report.views import Fact, FigureView, FindingsView, SectionView
from auditkit.report.wording import number, percent, seconds, size, title_of
from auditkit.results import Given, Note, SelfCheck
from auditkit.showing import Section
from auditkit.store import Run, RunRecord

MOST_HEADLINES = 4
"""How many of the numbers behind the answer stand under it; the others follow folded."""


def report_context(
    run: Run, sections: Sequence[SectionView], findings: FindingsView
) -> ReportContext:
    """Everything a report says of a run."""
    record = run.record
    numbers = [
        Fact(name=title_of(name), value=number(value)) for name, value in record.summary.items()
    ]
    style, scripts = page.style(), page.scripts()
    return ReportContext(
        title=record.title,
        question=record.question,
        audit=record.audit,
        run_id=record.id,
        created=f"{record.created:%Y-%m-%d %H:%M} UTC",
        version=record.versions.get("auditkit", "unknown"),
        answer=record.answer,
        headline=tuple(numbers[:MOST_HEADLINES]),
        further=tuple(numbers[MOST_HEADLINES:]),
        notes=_notes(record.notes),
        self_check=_self_check(record.self_check),
        sections=tuple(sections),
        findings=findings,
        subject=_subject(record),
        repeat=_repeat(record),
        policy=page.policy(style, scripts),
        style=page.style_element(style),
        scripts=tuple(page.script_element(script) for script in scripts),
    )


def section_views(sections: Sequence[Section], previews: Previews) -> tuple[SectionView, ...]:
    """The sections with their charts drawn and the examples of their galleries.

    Raises:
        PluginError: a chart cannot be drawn.
    """
    return tuple(
        SectionView(
            name=f"section-{place}",
            title=section.title,
            paragraphs=tuple(section.paragraphs),
            figures=tuple(
                FigureView(
                    svg=to_svg(figure, name=f"section-{place}-figure-{number_}"),
                    caption=figure.caption,
                )
                for number_, figure in enumerate(section.figures, start=1)
            ),
            table=None if section.table is None else table_view(section.table),
            galleries=gallery_views(section.galleries, previews),
            template=section.template,
        )
        for place, section in enumerate(sections, start=1)
    )


def shown_findings(run: Run, count: int, previews: Previews, *, cut_for_size: bool) -> FindingsView:
    """The table of the `count` worst findings of a run."""
    record, frame = run.record, run.findings.frame
    judged = frame.height
    if count >= judged:
        shown = f"All {judged:,} rows of the findings are shown."
    else:
        reason = ", so that this file stays under 2 MB" if cut_for_size else ""
        shown = f"The {count:,} worst of {judged:,} judged are shown{reason}"
        shown += "; all are in findings.parquet and findings.csv beside this file."
    return findings_view(
        frame.head(count),
        previews,
        judged=record.judged,
        shown=shown,
        file_name=f"decisions-{record.audit}-{record.id}.csv",
    )


def _notes(notes: Sequence[Note]) -> tuple[NoteView, ...]:
    ordered = sorted(notes, key=lambda note: note.level != "warning")
    return tuple(NoteView(level=note.level, text=note.text) for note in ordered)


def _self_check(check: SelfCheck | None) -> SelfCheckView | None:
    if check is None:
        return None
    return SelfCheckView(
        passed=check.passed,
        top1=percent(check.top1),
        top5=percent(check.top5),
        queries=number(check.queries),
        candidates=number(check.candidates),
    )


def _subject(record: RunRecord) -> SubjectView:
    subject = record.subject
    names = subject.class_names or ()
    facts = {
        "Examples": number(subject.examples),
        "Queries": None if subject.queries is None else number(subject.queries),
        "Classes": f"{len(names):,}" if names else None,
        "Task": subject.task,
        "Weights of the model": number(subject.parameters) if subject.task else None,
        "Checkpoints": number(subject.checkpoints) if subject.checkpoints else None,
    }
    return SubjectView(
        name=subject.name,
        description=subject.description,
        facts=tuple(Fact(name=name, value=value) for name, value in facts.items() if value),
    )


def _repeat(record: RunRecord) -> RepeatView:
    settings = {title_of(name): _said(value) for name, value in record.settings.items()}
    run = {
        "Seed": str(record.seed),
        "Device": record.device,
        "Batch size": "chosen by auditkit" if record.batch_size is None else str(record.batch_size),
        "Findings shown": number(record.top),
    }
    cost = {title_of(stage): seconds(spent) for stage, spent in record.seconds.items()}
    cost |= {"In all": seconds(sum(record.seconds.values()))}
    cost |= {"Peak memory": size(record.peak_memory)}
    weights = record.subject.weights
    sums = {} if weights is None else {"SHA-256 of the weights": weights}
    sums["SHA-256 of the data"] = record.subject.data
    groups = {
        "Settings": settings | run,
        "Model and data": sums,
        "Versions": dict(record.versions),
        "Time and memory": cost,
    }
    return RepeatView(
        command=record.command,
        python=_python(record),
        groups=tuple(
            FactGroup(
                title=title,
                facts=tuple(Fact(name=name, value=value) for name, value in facts.items()),
            )
            for title, facts in groups.items()
        ),
    )


def _said(value: Given) -> str:
    """What a setting was, as text."""
    return (", ".join(value) or number(None)) if isinstance(value, tuple) else number(value)


def _python(record: RunRecord) -> str:
    size_ = "" if record.batch_size is None else f"    batch_size={record.batch_size},\n"
    return (
        f"auditkit.run(\n    {record.audit!r},\n    subject,\n"
        f"    settings={dict(record.settings)!r},\n    seed={record.seed},\n"
        f"    device={record.device!r},\n{size_}    top={record.top},\n)"
    )
