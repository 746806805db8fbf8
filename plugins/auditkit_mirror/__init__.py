"""The mirror audit: do the two directions of influence agree on this model?"""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import AuditClass, hookimpl
from auditkit_mirror.audit import MirrorAudit

__all__ = ["MirrorAudit"]


@hookimpl
def audits() -> Sequence[AuditClass]:
    """The one audit of this plugin."""
    return [MirrorAudit]
