"""The memorization audit: which examples are memorized rather than learnt?"""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import AuditClass, hookimpl
from auditkit_memorization.audit import MemorizationAudit

__all__ = ["MemorizationAudit"]


@hookimpl
def audits() -> Sequence[AuditClass]:
    """The one audit of this plugin."""
    return [MemorizationAudit]
