from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from auditkit.cli.main import CORE

Command = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("counting")


def test_help_lists_auditkits_commands_and_every_audit(auditkit: Command) -> None:
    outcome = auditkit("--help")
    assert outcome.returncode == 0
    for name in (*CORE, "mislabel", "count"):
        assert f"\n  {name} " in outcome.stdout
    assert "How many examples are there?" in outcome.stdout
    assert outcome.stderr == ""


def test_a_broken_plugin_costs_one_warning_and_never_the_command(
    auditkit: Command, install: Callable[..., None]
) -> None:
    install("brittle", "raise RuntimeError('out of order')", entry="brittle")
    outcome = auditkit("--help")
    assert outcome.returncode == 0
    assert "\n  mislabel " in outcome.stdout
    assert outcome.stderr.count("Warning:") == 1
    assert "'brittle' of the distribution brittle 1.2.3" in outcome.stderr


def test_plugins_are_left_out_on_the_command_line(auditkit: Command) -> None:
    outcome = auditkit("--no-plugin", "counter", "--help")
    assert "\n  count " not in outcome.stdout
    assert auditkit("--no-plugin", "counter", "count", "x").returncode == 2
    wrong = auditkit("--no-plugin", "countre", "--help")
    assert wrong.returncode == 2
    assert wrong.stderr == "Error: There is no plugin 'countre'; did you mean 'counter'?\n"


@pytest.mark.parametrize("arguments", [["cuont"], ["count"], ["count", "x", "--no-such"], ["runs"]])
def test_wrong_use_exits_with_two(auditkit: Command, arguments: list[str]) -> None:
    outcome = auditkit(*arguments)
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr


def test_an_audit_named_like_a_command_is_left_out_with_a_warning(
    auditkit: Command, install: Callable[..., None]
) -> None:
    source = """
        import auditkit
        class Runs(auditkit.Audit[auditkit.Settings]):
            name, title, question, fail_on = "runs", "Runs", "Which?", "share"
            settings = auditkit.Settings
            def audit(self, context): pass
        @auditkit.hookimpl
        def audits(): return [Runs]
    """
    install("usurper", source, entry="usurper")
    outcome = auditkit("--help")
    assert outcome.stdout.count("\n  runs ") == 1
    assert "usurper" in outcome.stderr
    assert "auditkit has one of that name" in outcome.stderr


def test_what_goes_wrong_is_one_sentence(auditkit: Command, subject: str) -> None:
    outcome = auditkit("count", subject, "--fail", "data", "-q")
    assert (outcome.returncode, outcome.stdout) == (3, "")
    assert outcome.stderr == "Error: The data is not to be had.\n"


def test_what_nobody_foresaw_is_one_sentence_too_and_debug_says_where(
    auditkit: Command, subject: str
) -> None:
    outcome = auditkit("count", subject, "--fail", "here", "-q")
    assert outcome.returncode == 3
    assert outcome.stderr.count("\n") == 1
    assert "ZeroDivisionError: nothing to divide by" in outcome.stderr
    outcome = auditkit("count", subject, "--fail", "here", "-q", "--debug")
    assert outcome.returncode == 3
    assert "Traceback (most recent call last)" in outcome.stderr
    assert 'raise ZeroDivisionError("nothing to divide by")' in outcome.stderr


@pytest.mark.parametrize("fail", ["stop", "here", "data"])
def test_nothing_half_written_stays(
    auditkit: Command, subject: str, tmp_path: Path, fail: str
) -> None:
    outcome = auditkit("count", subject, "--fail", fail, "--out", str(tmp_path / "runs"))
    assert outcome.returncode == (130 if fail == "stop" else 3)
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_cleans_up(subject: str, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    command = [sys.executable, "-m", "auditkit", "count", subject, "--slow", "--out", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        assert len(list(out.iterdir())) == 1
        child.send_signal(signal.SIGINT)
        _, error = child.communicate()
    assert child.returncode == 130
    assert "Traceback" not in error
    assert not out.exists()


def test_an_output_folder_that_cannot_be_written_to_is_one_sentence(
    auditkit: Command, subject: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    outcome = auditkit("count", subject, "-q", "--out", str(tmp_path / "file" / "runs"))
    assert outcome.returncode == 3
    assert "could not be written to" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_the_version_is_that_of_the_distribution(auditkit: Command) -> None:
    import auditkit as package

    assert auditkit("--version").stdout == f"auditkit {package.__version__}\n"
