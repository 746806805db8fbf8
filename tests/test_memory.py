"""What has been freed goes back to the system, where that can be asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from auditkit.memory import give_back


def resident() -> int:
    """Pages that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps what is freed")
def test_freed_memory_is_given_back() -> None:
    held = [bytes(50_000) for _ in range(4_000)]  # small enough to come from the heap
    last = bytes(50_000)  # which keeps the heap's end in use
    del held
    before = resident()
    give_back()
    assert resident() < before
    assert len(last) == 50_000


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("ctypes.CDLL", None)  # which would fail if it were called
    give_back()
