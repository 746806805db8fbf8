"""The tracing audit: which training examples taught this behaviour?"""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import AuditClass, hookimpl
from auditkit_tracing.audit import TracingAudit

__all__ = ["TracingAudit"]


@hookimpl
def audits() -> Sequence[AuditClass]:
    """The one audit of this plugin."""
    return [TracingAudit]
