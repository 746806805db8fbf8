from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from auditkit import AuditResult, Findings, Note, SelfCheck
from auditkit.errors import StoreError, UnknownNameError
from auditkit.store import (
    FORMAT,
    RunRecord,
    SubjectRecord,
    find_run,
    list_runs,
    new_id,
    open_run,
    writable,
    write_result,
    writing,
)

RESULT = AuditResult(
    Findings.ranked(["a", "b"], np.array([1.0, 2.0]), columns={"given_label": ["cat", "dog"]}),
    answer="Half of them.",
    rate=0.5,
    summary={"wrong": 1, "share": 0.5, "method": "count", "sure": False, "none": None},
    notes=(Note(level="warning", text="careful"),),
    tables={"pairs": pl.DataFrame({"left": [1, 2], "right": [3, 4]})},
    self_check=SelfCheck(queries=4, candidates=8, top1=0.75, top5=1.0),
    judged="train",
)
PREVIEWS = pl.DataFrame({"example_id": ["a"], "text": ["hello"]})


def record(run_id: str = "abc123", *, age: int = 0) -> RunRecord:
    return RunRecord(
        id=run_id,
        audit="count",
        title="Count",
        question="How many?",
        created=datetime(2026, 1, 1, tzinfo=UTC) - timedelta(days=age),
        subject=SubjectRecord(
            name="few", description=("Two.",), task="ClassificationTask", parameters=3, examples=2,
            queries=None, checkpoints=0, class_names=("cat", "dog"), weights="0", data="1",
        ),
        settings={"limit": 3}, seed=0, device="cpu", batch_size=None, top=200,
        versions={"torch": "2"}, seconds={"audit": 0.1}, peak_memory=1,
        answer=RESULT.answer, rate=RESULT.rate, summary=RESULT.summary, notes=tuple(RESULT.notes),
        self_check=RESULT.self_check, tables=tuple(RESULT.tables), judged="train",
    )  # fmt: skip


def store(out: Path, run_id: str = "abc123", *, age: int = 0) -> Path:
    with writing(out, "count", run_id) as (folder, final):
        write_result(folder, record(run_id, age=age), RESULT, PREVIEWS)
        (folder / "report.html").write_text("<!doctype html>")
    return final


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    run = open_run(store(tmp_path))
    assert run.record == record()
    assert run.report.read_text() == "<!doctype html>"
    assert run.previews.equals(PREVIEWS)
    result = run.result
    assert result.findings.frame.equals(RESULT.findings.frame)
    assert result.tables["pairs"].equals(RESULT.tables["pairs"])
    assert (result.answer, result.rate, result.self_check) == (
        "Half of them.",
        0.5,
        run.record.self_check,
    )
    assert dict(result.summary) == dict(RESULT.summary)


def test_the_types_of_the_summary_survive(tmp_path: Path) -> None:
    summary = open_run(store(tmp_path)).record.summary
    assert {name: type(value) for name, value in summary.items()} == {
        "wrong": int, "share": float, "method": str, "sure": bool, "none": type(None),
    }  # fmt: skip


def test_a_folder_is_called_by_date_audit_and_id(tmp_path: Path) -> None:
    assert store(tmp_path).name == f"{datetime.now(UTC):%Y-%m-%d}-count-abc123"


def test_until_the_end_there_is_no_run(tmp_path: Path) -> None:
    with writing(tmp_path, "count", "abc123") as (folder, final):
        write_result(folder, record(), RESULT, PREVIEWS)
        assert not final.exists()
        assert list_runs(tmp_path) == []
    assert [run.record.id for run in list_runs(tmp_path)] == ["abc123"]


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt])
def test_whatever_ends_the_writing_leaves_nothing(tmp_path: Path, end: type[BaseException]) -> None:
    def stop() -> None:
        with writing(tmp_path / "new", "count", "abc123") as (folder, _):
            write_result(folder, record(), RESULT, PREVIEWS)
            raise end

    with pytest.raises(end):
        stop()
    assert list(tmp_path.iterdir()) == []


def test_the_runs_that_are_there_stay_when_one_fails(tmp_path: Path) -> None:
    kept = store(tmp_path, "000001")
    with pytest.raises(ValueError, match="no"), writing(tmp_path, "count", "000002"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == [kept]


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"file.*--out DIR"),
        writing(tmp_path / "file", "count", "abc123"),
    ):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("method", ["write_parquet", "write_csv"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, method: str) -> None:
    frame = pl.DataFrame({"a": np.arange(100_000)})
    with pytest.raises(StoreError, match="No space left"), writable(tmp_path):
        getattr(frame, method)("/dev/full")


def test_errors_of_the_data_are_not_called_errors_of_writing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path, "count", "abc123"):
        (tmp_path / "image.png").read_bytes()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1}))
    with pytest.raises(StoreError, match="upgrade auditkit"):
        open_run(path.parent)


def test_a_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no readable run"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StoreError, match="no readable run"):
        open_run(tmp_path)


def test_a_damaged_frame_is_one_sentence(tmp_path: Path) -> None:
    path = store(tmp_path)
    (path / "previews.parquet").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"previews\.parquet cannot be read"):
        _ = open_run(path).previews


def test_runs_are_listed_newest_first_and_strangers_passed_over(tmp_path: Path) -> None:
    store(tmp_path, "000001", age=2)
    store(tmp_path, "000002", age=1)
    store(tmp_path, "000003", age=3)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert [run.record.id for run in list_runs(tmp_path)] == ["000002", "000001", "000003"]
    assert list_runs(tmp_path / "nowhere") == []


def test_a_run_is_found_by_path_folder_name_or_id(tmp_path: Path) -> None:
    path = store(tmp_path, "000001")
    store(tmp_path, "000002")
    for name in (str(path), path.name, "000001"):
        assert find_run(name, tmp_path).path == path
    with pytest.raises(UnknownNameError, match=f"did you mean '{path.name}'"):
        find_run(path.name.replace("count", "cuont"), tmp_path)


def test_ids_are_short_and_differ() -> None:
    ids = {new_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(len(name) == 6 and int(name, 16) >= 0 for name in ids)
