"""What templates may use: the typed contract between a report's data and its looks.

A template is given `report`, a `ReportContext`; a section's template is given `section` besides, a
`SectionView`. Every text is plain and escaped by the template engine; only the fields of type
`Markup` are put into the page as they are, and none of them holds data that was not escaped.
Nothing under `templates/` computes: numbers come as the text to show. What sections, galleries and
tables are made of is in `views.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from auditkit.report.views import Fact, FindingsView, SectionView


@dataclass(frozen=True, kw_only=True)
class FactGroup:
    """Facts of one kind.

    Attributes:
        title: what they have in common.
        facts: in the order to be shown.
    """

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class NoteView:
    """A line the reader must see.

    Attributes:
        level: `info` or `warning`.
        text: one or two sentences.
    """

    level: Literal["info", "warning"]
    text: str


@dataclass(frozen=True, kw_only=True)
class SelfCheckView:
    """Whether training examples, as queries, found themselves.

    Attributes:
        passed: whether at least half were found first.
        top1: share found first, in percent.
        top5: share found among the first five, in percent.
        queries: how many were asked.
        candidates: among how many each was to be found.
    """

    passed: bool
    top1: str
    top5: str
    queries: str
    candidates: str


@dataclass(frozen=True, kw_only=True)
class SubjectView:
    """What was audited.

    Attributes:
        name: what it is called.
        description: sentences on where it came from and what of it was used.
        facts: sizes of model and pools.
    """

    name: str
    description: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class RepeatView:
    """What is needed to do it again.

    Attributes:
        command: the command line; None for a run from Python.
        python: the call in Python.
        groups: settings, hashes, versions, time and memory.
    """

    command: str | None
    python: str
    groups: tuple[FactGroup, ...]


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """Everything a report says.

    Attributes:
        title: the audit's heading.
        question: what the audit asks.
        audit: the audit's name.
        run_id: the short id of the run.
        created: when it was stored, in UTC.
        version: of auditkit, at the time of the run.
        answer: the answer in one sentence.
        headline: the first numbers behind the answer.
        further: the other numbers behind the answer.
        notes: what the reader must know, warnings first.
        self_check: how the engine did, or None if it was not asked.
        sections: the parts between the answer and the findings.
        findings: the table of findings.
        subject: what was audited.
        repeat: what is needed to do it again.
        policy: the Content-Security-Policy of the page.
        style: the stylesheet, a whole element.
        scripts: the page's scripts, whole elements.
    """

    title: str
    question: str
    audit: str
    run_id: str
    created: str
    version: str
    answer: str
    headline: tuple[Fact, ...]
    further: tuple[Fact, ...]
    notes: tuple[NoteView, ...]
    self_check: SelfCheckView | None
    sections: tuple[SectionView, ...]
    findings: FindingsView
    subject: SubjectView
    repeat: RepeatView
    policy: str
    style: Markup
    scripts: tuple[Markup, ...]
