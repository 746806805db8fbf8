"""The whole way on real data: files in, the real command, findings out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import leakage_real
from benchmarks.real_input import audit, image_folder, pitches


def test_a_table_with_wrong_labels(tmp_path: Path) -> None:
    found = audit(pitches(tmp_path / "pitches.csv"), tmp_path / "runs")
    assert found["average precision"] > 0.95
    assert 0.8 < found["estimated / true count"] < 1.2
    assert found["report, MB"] < 2


@pytest.mark.usefixtures("fashion_mnist")
def test_a_folder_of_images_with_wrong_labels(tmp_path: Path) -> None:
    found = audit(image_folder(tmp_path / "images", count=1_000), tmp_path / "runs")
    assert found["average precision"] > 0.75
    assert found["recall"] > 0.75
    assert found["report, MB"] < 2


def test_a_table_with_rows_that_leaked(tmp_path: Path) -> None:
    split = leakage_real.pitches(tmp_path / "data", train=400, evaluation=80)
    found = leakage_real.audit(split, tmp_path / "runs")
    assert found["recall"] > 0.8
    assert found["others flagged"] <= 1
    assert found["report, MB"] < 2


@pytest.mark.usefixtures("fashion_mnist")
def test_a_folder_of_images_that_leaked(tmp_path: Path) -> None:
    split = leakage_real.images(tmp_path / "data", train=400, evaluation=80)
    split = replace(split, options=("--no-model",))
    found = leakage_real.audit(split, tmp_path / "runs")
    assert found["recall"] > 0.8
    assert found["others flagged"] <= 1
    assert found["report, MB"] < 2
