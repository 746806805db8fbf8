"""The mislabel audit: which labels are wrong?"""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import AuditClass, hookimpl
from auditkit_mislabel.audit import MislabelAudit

__all__ = ["MislabelAudit"]


@hookimpl
def audits() -> Sequence[AuditClass]:
    """The one audit of this plugin."""
    return [MislabelAudit]
