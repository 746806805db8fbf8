"""Forward-INF, the scoring engine: start reading at `forward_inf.py`."""

from auditkit.engine.forward_inf import ForwardINF
from auditkit.engine.update import UpdateSettings

__all__ = ["ForwardINF", "UpdateSettings"]
