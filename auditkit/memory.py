"""Memory that a finished stage has freed, back to the system before the next one needs its own."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Give freed memory back where the C library would keep it, as glibc does; else nothing."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
