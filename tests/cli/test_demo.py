from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Command = Callable[..., "CompletedProcess[str]"]


def test_the_demo_finds_most_of_what_was_planted(auditkit: Command, tmp_path: Path) -> None:
    outcome = auditkit("demo", "--out", str(tmp_path), "--fail-on", "0.5", "--top", "20")
    assert outcome.returncode == 0
    last = outcome.stdout.splitlines()[-1]
    found = re.search(r"precision (\d+)%.* (\d+)% of the 90 that were made wrong", last)
    assert found is not None, last
    assert min(int(found[1]), int(found[2])) >= 80
    (run,) = tmp_path.iterdir()
    assert (run / "report.html").stat().st_size < 2_000_000
    record = json.loads((run / "run.json").read_text())
    assert record["subject"]["examples"] == 1797
    assert abs(record["rate"] - 0.05) < 0.01


def test_the_demo_has_the_common_options(auditkit: Command) -> None:
    text = auditkit("demo", "--help").stdout
    for option in ("--out", "--seed", "--device", "--batch-size", "--fail-on", "--top", "--quiet"):
        assert option in text
    outcome = auditkit("--no-plugin", "mislabel", "demo")
    assert outcome.returncode == 2
    assert "There is no audit 'mislabel'" in outcome.stderr
