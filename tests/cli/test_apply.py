from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import polars as pl
import pytest

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "animals.csv"
    pl.DataFrame({"name": list("abc"), "legs": [4, 2, 4], "kind": ["cat", "cat", "dog"]}).write_csv(
        path
    )
    (tmp_path / "decisions.csv").write_text(
        "example_id,decision,suggested_label\na,keep,\nb,fix,bird\nc,drop,\n"
    )
    return path


def test_decisions_are_carried_out_on_a_copy(auditkit: Command, data: Path) -> None:
    before, out = data.read_bytes(), data.with_name("mended.csv")
    outcome = auditkit(
        "apply", str(data.with_name("decisions.csv")), str(data), "--out", str(out),
        "--id", "name", "--label", "kind",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "Labels fixed: 1; dropped: 1; kept: 1.\n"
    assert pl.read_csv(out).rows() == [("a", 4, "cat"), ("b", 2, "bird")]
    assert data.read_bytes() == before


def test_a_copy_over_the_data_is_wrong_use(auditkit: Command, data: Path) -> None:
    before = data.read_bytes()
    outcome = auditkit(
        "apply", str(data.with_name("decisions.csv")), str(data), "--out", str(data),
        "--id", "name", "--label", "kind",
    )  # fmt: skip
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("Error: ")
    assert data.read_bytes() == before
