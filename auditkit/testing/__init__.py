"""For authors of plugins: a subject to try an audit on, and a check that it fits in.

def test_my_audit_fits_in():
    auditkit.testing.check_audit(MyAudit)
"""

from auditkit.testing.conformance import check_audit, problems
from auditkit.testing.subjects import tiny_subject

__all__ = ["check_audit", "problems", "tiny_subject"]
