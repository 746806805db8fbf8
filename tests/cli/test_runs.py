from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("counting")


@pytest.fixture
def stored(auditkit: Command, subject: str, tmp_path: Path) -> Path:
    out = tmp_path / "runs"
    assert auditkit("count", subject, "--out", str(out)).returncode == 0
    (run,) = out.iterdir()
    return run


def test_runs_are_listed(auditkit: Command, stored: Path) -> None:
    outcome = auditkit("runs", "list", "--out", str(stored.parent))
    assert outcome.returncode == 0
    assert stored.name in outcome.stdout
    assert "There are 60." in outcome.stdout
    listed = json.loads(auditkit("runs", "list", "--out", str(stored.parent), "--json").stdout)
    assert [record["answer"] for record in listed] == ["There are 60."]


def test_a_folder_without_runs_is_no_error(auditkit: Command, tmp_path: Path) -> None:
    outcome = auditkit("runs", "list", "--out", str(tmp_path))
    assert (outcome.returncode, outcome.stdout) == (0, "")
    assert "no runs" in outcome.stderr
    assert json.loads(auditkit("runs", "list", "--out", str(tmp_path), "--json").stdout) == []


def test_a_run_is_shown_by_id_folder_name_or_path(auditkit: Command, stored: Path) -> None:
    for name in (stored.name[-6:], stored.name, str(stored)):
        outcome = auditkit("runs", "show", name, "--out", str(stored.parent))
        assert outcome.returncode == 0
        assert "Counting: How many examples are there?" in outcome.stdout
        assert "limit=3" in outcome.stdout
        assert "count" in outcome.stdout
    shown = json.loads(auditkit("runs", "show", str(stored), "--json").stdout)
    assert shown["summary"] == {"count": 60}


def test_a_run_that_is_not_there_is_wrong_use(auditkit: Command, stored: Path) -> None:
    wrong = stored.name.replace("count", "cuont")
    outcome = auditkit("runs", "show", wrong, "--out", str(stored.parent))
    assert outcome.returncode == 2
    assert f"did you mean '{stored.name}'?" in outcome.stderr


def test_a_report_is_rendered_again_from_the_folder_alone(auditkit: Command, stored: Path) -> None:
    report = stored / "report.html"
    first = report.read_text()
    report.unlink()
    outcome = auditkit("report", stored.name, "--out", str(stored.parent))
    assert outcome.returncode == 0
    assert outcome.stdout == f"Report: {report}\n"
    assert report.read_text() == first


def test_a_report_of_an_audit_that_is_gone_is_wrong_use(auditkit: Command, stored: Path) -> None:
    outcome = auditkit("--no-plugin", "counter", "report", str(stored))
    assert outcome.returncode == 2
    assert "There is no audit 'count'" in outcome.stderr
