"""The diffusion audit: which training images shaped this generated image?"""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import AuditClass, hookimpl
from auditkit_diffusion.audit import DiffusionAudit

__all__ = ["DiffusionAudit"]


@hookimpl
def audits() -> Sequence[AuditClass]:
    """The one audit of this plugin."""
    return [DiffusionAudit]
