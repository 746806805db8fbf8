from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from auditkit.cli.audits import audit_command
from auditkit.context import Settings
from auditkit.declarations import RESERVED
from auditkit.registry import Registry

Command = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("counting")


def test_help_is_made_of_what_the_audit_declares(auditkit: Command) -> None:
    text = re.sub(r"\s+", " ", auditkit("count", "--help").stdout)
    assert "How many examples are there?" in text
    for part in (
        "--limit INTEGER How many to count. [default: 3]",
        "--way [up|down] In which direction. [default: up]",
        "--slow Take a long time.",
        "--polite / --no-polite Say please. [default: polite]",
        "--share FLOAT What share to find.",
        "Exit with code 1 if this is at least RATE (0 to 1): share counted.",
    ):
        assert part in text


def test_every_command_has_the_common_options_and_no_setting_may_take_their_names() -> None:
    class Nothing(Settings):
        pass

    for audit in Registry().audits.values():
        bare = type("Bare", (audit,), {"settings": Nothing})
        names = {parameter.name for parameter in audit_command(bare).params}
        assert names <= RESERVED
        own = {"trusted", "evaluation", "model", "base", "checkpoint", "no_model"}
        made = {"condition", "generated", "generated_prompt"}
        assert RESERVED - names <= {*own, *made, "help"}


@pytest.mark.parametrize(
    ("queries", "second", "present"),
    [
        ("unused", "evaluation", set()),
        ("optional", "trusted", {"trusted"}),
        ("optional", "evaluation", {"evaluation"}),
        ("required", "evaluation", {"evaluation"}),
    ],
)
def test_a_second_path_is_taken_where_the_audit_can_use_it(
    queries: str, second: str, present: set[str]
) -> None:
    from auditkit import Requirements

    audit = Registry().audit("mislabel")
    needs = type("Needs", (audit,), {"requirements": Requirements(queries=queries, second=second)})  # type: ignore[arg-type]
    names = {str(parameter.name) for parameter in audit_command(needs).params}
    assert names & {"trusted", "evaluation"} == present


def test_a_run_says_what_is_used_what_was_found_and_where(
    auditkit: Command, subject: str, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    outcome = auditkit("count", subject, "--out", str(out), "--limit", "5", "--seed", "7")
    assert outcome.returncode == 0
    assert "Sixty handwritten digits." in outcome.stderr
    assert "Counted with care." in outcome.stderr
    assert "Warning: Beware of \\x1b[31mred ink." in outcome.stderr
    assert outcome.stdout.startswith("There are 60.\n")
    assert "example_id  rank" in outcome.stdout
    (run,) = out.iterdir()
    assert outcome.stdout.endswith(f"Report: {run / 'report.html'}\n")
    record = json.loads((run / "run.json").read_text())
    assert record["settings"] == {
        "limit": 5, "way": "up", "slow": False, "polite": True, "share": None, "fail": "",
    }  # fmt: skip
    assert record["seed"] == 7
    assert record["versions"]["counting"] == "1.2.3"


def test_quiet_leaves_only_the_answer_and_warnings(
    auditkit: Command, subject: str, tmp_path: Path
) -> None:
    outcome = auditkit("count", subject, "--out", str(tmp_path / "runs"), "-q")
    answer, report = outcome.stdout.splitlines()
    assert answer == "There are 60."
    assert report.startswith("Report: ")
    assert outcome.stderr.splitlines() == ["Warning: Beware of \\x1b[31mred ink."]


def test_verbose_tells_the_stages(auditkit: Command, subject: str, tmp_path: Path) -> None:
    assert "Seconds: reading" in auditkit("count", subject, "--out", str(tmp_path), "-v").stderr


@pytest.mark.parametrize(("rate", "code"), [("0.25", 1), ("0.2", 1), ("0.26", 0)])
def test_fail_on_compares_the_rate(
    auditkit: Command, subject: str, tmp_path: Path, rate: str, code: int
) -> None:
    outcome = auditkit("count", subject, "--out", str(tmp_path), "--fail-on", rate)
    assert outcome.returncode == code
    assert "Report: " in outcome.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit", "0"], "The setting 'limit' of the count audit is 0: input should be greater"),
        (["--limit", "x"], "'x' is not a valid integer"),
        (["--way", "sideways"], "'sideways'"),
        (["--device", "toaster"], "The device 'toaster' cannot be used here"),
        (["--fail-on", "2"], "--fail-on"),
        (["--batch-size", "0"], "--batch-size"),
    ],
)
def test_a_value_out_of_range_is_one_sentence_and_exit_code_two(
    auditkit: Command, subject: str, tmp_path: Path, options: list[str], said: str
) -> None:
    outcome = auditkit("count", subject, "-q", "--out", str(tmp_path / "runs"), *options)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert not (tmp_path / "runs").exists()


def test_settings_are_checked_before_the_subject_is_loaded(
    auditkit: Command, tmp_path: Path
) -> None:
    outcome = auditkit("count", str(tmp_path / "nothing.csv"), "--limit", "0")
    assert outcome.returncode == 2
    assert "The setting 'limit'" in outcome.stderr


def test_a_subject_that_is_not_there_is_wrong_use(auditkit: Command) -> None:
    outcome = auditkit("count", "nothing_of_that_name:x", "-q")
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
