"""An auditkit plugin: which predictions change when the model has not seen the example?"""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import Audit, AuditResult, Section, Settings, hookimpl
from auditkit_unstable.audit import UnstableAudit


@hookimpl
def audits() -> Sequence[type[Audit[Settings]]]:
    """The one audit of this plugin."""
    return [UnstableAudit]


@hookimpl
def report_sections(audit: str, result: AuditResult) -> Sequence[Section]:
    """One more section in the reports of another audit, mislabel."""
    if audit != "mislabel":
        return []
    sentence = f"{result.findings.flagged.height} labels are flagged; look at them in pairs."
    return [Section(title="House rule", paragraphs=[sentence])]
