"""Real input and bad input, through the real command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits

from auditkit.cli import main

Call = Callable[..., tuple[int, str]]
QUICK = ("--retrainings", "1", "--repeats", "1", "--epochs", "4")


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs `auditkit memorization`; gives the exit code and what was said."""

    def run(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["memorization", *map(str, arguments), "--out", str(tmp_path / "runs")])
        said = capfd.readouterr()
        return int(caught.value.code or 0), " ".join((said.out + said.err).split())

    return run


def digits_table(path: Path, *, count: int, start: int = 0, classes: int = 3) -> Path:
    data = load_digits(n_class=classes)
    rows = slice(start, start + count)
    names = np.array(["zero", "one", "two"])[data.target[rows]]
    columns = {f"pixel{place}": data.data[rows, place] for place in range(2, 62, 3)}
    ward = np.where(np.arange(len(names)) % 9 == 0, "night", "day")
    pl.DataFrame({"digit": names, "ward": ward, **columns}).write_csv(path)
    return path


def subject_file(path: Path, body: str) -> str:
    path.write_text(
        "from dataclasses import replace\nimport numpy as np\nimport auditkit\n"
        f"from auditkit.testing import tiny_subject\n\ndef subject():\n{body}"
    )
    return f"{path}:subject"


@pytest.mark.parametrize("option", ["--model", "--base"])
def test_a_python_subject_names_its_model_itself(call: Call, tmp_path: Path, option: str) -> None:
    reference = subject_file(tmp_path / "own.py", "    return tiny_subject(examples=60)\n")
    code, said = call(reference, option, tmp_path)
    assert code == 2, said
    assert f"{option} was given, and the subject is a Python object" in said
    assert not (tmp_path / "runs").exists()


def test_a_table_with_an_evaluation_table(call: Call, tmp_path: Path) -> None:
    train = digits_table(tmp_path / "train.csv", count=200)
    evaluation = digits_table(tmp_path / "evaluation.csv", count=60, start=200)
    code, said = call(
        train, evaluation, "--label", "digit", "--by", "ward", "--fail-on", "0", *QUICK
    )
    assert code == 1
    assert "200 training examples" in said
    assert "at least 0 (--fail-on)" in said
    [run] = (tmp_path / "runs").glob("*-memorization-*")
    frame = pl.read_parquet(run / "findings.parquet")
    assert frame.height == 200
    assert "leaning_examples" in frame.columns
    assert "class, ward" in (run / "report.html").read_text(encoding="utf-8")
    assert sorted((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / ".factors", run]


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--by", "wards"), 2, "There is no column 'wards'"),
        (("--folds", "500"), 2, "folds=500"),
        (("--threshold", "2"), 2, "threshold"),
        (("--confirm", "--leave-out", "0.001"), 2, "leaves 0 out"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    call: Call, tmp_path: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    train = digits_table(tmp_path / "train.csv", count=120)
    ended, said = call(train, "--label", "digit", *QUICK, *options)
    assert ended == code
    assert sentence in said
    assert "Traceback" not in said


def test_one_class_is_refused(call: Call, tmp_path: Path) -> None:
    train = digits_table(tmp_path / "train.csv", count=50, classes=1)
    code, said = call(train, "--label", "digit")
    assert code == 3
    assert "class" in said


def test_an_evaluation_table_without_labels_is_refused(call: Call, tmp_path: Path) -> None:
    train = digits_table(tmp_path / "train.csv", count=120)
    bare = tmp_path / "bare.csv"
    pl.read_csv(train).drop("digit").write_csv(bare)
    code, said = call(train, bare, "--label", "digit")
    assert code == 2
    assert "'digit'" in said


def test_a_regression_task_is_refused(call: Call, tmp_path: Path) -> None:
    reference = subject_file(
        tmp_path / "real.py",
        "    return tiny_subject(examples=40, likelihood='gaussian', epochs=1)\n",
    )
    code, said = call(reference)
    assert code == 3
    assert "needs a task with categorical or tokens outputs" in said


def test_queries_of_another_shape_are_refused(call: Call, tmp_path: Path) -> None:
    reference = subject_file(
        tmp_path / "other.py",
        "    other = auditkit.Pool.from_arrays(np.zeros((5, 3), np.float32), np.zeros(5, int))\n"
        "    return replace(tiny_subject(examples=40, epochs=1), queries=other)\n",
    )
    code, said = call(reference)
    assert code == 3
    assert "hold different things" in said
