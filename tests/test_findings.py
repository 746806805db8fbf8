from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from auditkit import Findings
from auditkit.errors import StoreError
from auditkit.findings import SCHEMA


def test_the_highest_score_is_rank_one_and_ties_keep_their_order() -> None:
    findings = Findings.ranked(["a", "b", "c", "d"], np.array([0.1, 0.9, 0.9, -1.0]))
    assert findings.frame["example_id"].to_list() == ["b", "c", "a", "d"]
    assert findings.frame["rank"].to_list() == [1, 2, 3, 4]


def test_every_frame_begins_with_the_schema_and_the_audits_columns_follow() -> None:
    findings = Findings.ranked(
        ["a", "b"], np.array([1.0, 2.0], np.float32), columns={"given_label": ["cat", None]}
    )
    assert dict(list(findings.frame.schema.items())[:5]) == dict(SCHEMA)
    assert findings.frame.columns[5:] == ["given_label"]
    assert findings.frame["given_label"].to_list() == [None, "cat"]


def test_without_a_claim_the_probability_is_null_and_nothing_is_flagged() -> None:
    findings = Findings.ranked(["a"], np.array([1.0]))
    assert findings.frame["probability"].to_list() == [None]
    assert findings.flagged.height == 0


def test_a_probability_that_is_not_known_is_null(tmp_path: Path) -> None:
    probability = np.array([1.0, np.nan])
    findings = Findings.ranked(["a", "b"], np.array([1.0, -0.5]), probability=probability)
    findings.write(tmp_path)
    for frame in (findings.frame, Findings.read(tmp_path).frame):
        assert frame["probability"].to_list() == [1.0, None]
    assert "NaN" not in (tmp_path / "findings.csv").read_text()
    assert probability[0] == 1.0
    assert np.isnan(probability[1])


def test_the_flagged_rows_come_worst_first() -> None:
    findings = Findings.ranked(
        ["a", "b", "c"],
        np.array([1.0, 3.0, 2.0]),
        probability=np.array([0.2, 0.9, 0.6]),
        flagged=np.array([True, True, False]),
    )
    assert findings.flagged["example_id"].to_list() == ["b", "a"]
    assert repr(findings) == "Findings(3 examples judged, 2 flagged)"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    findings = Findings.ranked(["a", "b"], np.array([1.0, 2.0]), columns={"text": ['x,\n"y"', ""]})
    findings.write(tmp_path)
    assert Findings.read(tmp_path).frame.equals(findings.frame)
    assert pl.read_csv(tmp_path / "findings.csv")["text"].to_list() == ["", 'x,\n"y"']


def test_lists_and_structures_are_json_in_csv(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"others": [["é", "b"], None], "box": [{"x": 1}, {"x": 2}]}
    Findings.ranked(["a", "b"], np.array([2.0, 1.0]), columns=columns).write(tmp_path)
    written = pl.read_csv(tmp_path / "findings.csv")
    assert written["others"].to_list() == ['["é", "b"]', None]
    assert written["box"].to_list() == ['{"x": 1}', '{"x": 2}']
    assert Findings.read(tmp_path).frame["others"].to_list() == [["é", "b"], None]


def test_a_frame_of_another_schema_is_refused() -> None:
    frame = Findings.ranked(["a"], np.array([1.0])).frame
    with pytest.raises(StoreError, match="'rank' of type UInt32"):
        Findings(frame.cast({"rank": pl.Int64}))
    with pytest.raises(StoreError, match="'score'"):
        Findings(frame.drop("score"))


def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        Findings.read(tmp_path)
    (tmp_path / "findings.parquet").write_bytes(b"PAR1 and then nonsense")
    with pytest.raises(StoreError, match="cannot be read"):
        Findings.read(tmp_path)
