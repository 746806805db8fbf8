"""The leakage audit: which evaluation examples were in the training set?"""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import AuditClass, hookimpl
from auditkit_leakage.audit import LeakageAudit

__all__ = ["LeakageAudit"]


@hookimpl
def audits() -> Sequence[AuditClass]:
    """The one audit of this plugin."""
    return [LeakageAudit]
