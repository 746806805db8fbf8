from __future__ import annotations

import pytest

from auditkit.progress import SILENT


def test_by_default_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with SILENT.step("counting", 2) as step:
        step.advance()
        step.advance(5)
    assert capfd.readouterr() == ("", "")
