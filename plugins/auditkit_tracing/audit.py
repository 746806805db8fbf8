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
        from auditkit_tracing import trace  # noqa: PLC0415 - heavy, for `--help`

        return trace.trace(context)

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """Each behaviour with its proponents, opponents and sources, and how far to trust it."""
        from auditkit_tracing import sections  # noqa: PLC0415 - draws

        return sections.sections(result)
