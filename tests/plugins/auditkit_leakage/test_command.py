"""`auditkit leakage`, through the real command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from auditkit.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def leakage(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs the command; gives its exit code, and what it said on both streams."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["leakage", *map(str, arguments), "--out", str(tmp_path / "runs")])
        said = capfd.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """300 rows to train on; 100 to evaluate, 20 of them among the first."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(380, 5)).round(4)
    frame = pl.DataFrame({name: numbers[:, place] for place, name in enumerate("abcde")})
    frame = frame.with_columns(
        kind=pl.when(pl.col("a") > 0).then(pl.lit("x")).otherwise(pl.lit("y"))
    )
    frame[:300].write_csv(tmp_path / "train.csv")
    pl.concat([frame[300:], frame[:20]]).write_csv(tmp_path / "test.csv")
    return tmp_path / "train.csv", tmp_path / "test.csv"


def folder(path: Path, images: np.ndarray) -> Path:
    path.mkdir(parents=True)
    for place, image in enumerate(images):
        Image.fromarray(image).save(path / f"{place:04}.png")
    return path


def test_two_tables_without_a_model(leakage: Call, tables: tuple[Path, Path]) -> None:
    code, out, _ = leakage(*tables, "--no-model", "--fail-on", "0.05")
    assert code == 1
    assert re.match(r"About 2[01] of 100 evaluation examples \(2\d\.\d%\)", out)
    code, _, _ = leakage(*tables, "--no-model", "--fail-on", "0.5", "-q")
    assert code == 0


def test_two_tables_with_the_model_that_is_trained_on_the_first(
    leakage: Call, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    code, out, _ = leakage(*tables, "--label", "kind", "--text", "a")
    assert code == 0, out
    train, test = tables
    pl.read_csv(test).drop("kind").write_csv(tmp_path / "bare.csv")
    code, out, err = leakage(train, tmp_path / "bare.csv", "--label", "kind")
    assert code == 0
    assert "accuracy" not in out
    assert "has no labels" in err


def test_a_table_alone_is_searched_for_duplicates(
    leakage: Call, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    train, test = (pl.read_csv(path) for path in tables)
    pl.concat([train, test]).write_csv(tmp_path / "both.csv")
    code, out, _ = leakage(tmp_path / "both.csv", "--no-model")
    assert code == 0
    assert re.match(r"About 4[01] of 400 training examples \(10\.\d%\)", out)
    (run,) = (tmp_path / "runs").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["summary"]["clusters in the train pool"] == 20
    assert record["subject"]["task"] is None


def test_flat_folders_and_text_files_without_a_model(leakage: Call, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (60, 16, 16)).astype(np.uint8)
    train = folder(tmp_path / "train", images[:50])
    test = folder(tmp_path / "test", images[45:])
    code, out, _ = leakage(train, test, "--no-model")
    assert code == 0
    assert out.startswith("About 5 of 15 evaluation examples (33.3%) were in the training set, as")
    code, _, _ = leakage(train, test, "--no-model", "--fail-on", "0.33")
    assert code == 1
    words = [" ".join(f"w{number * 7 + place}" for place in range(12)) for number in range(180)]
    (tmp_path / "train.txt").write_text("\n".join(words[:170]))
    (tmp_path / "test.txt").write_text("\n".join(words[165:]).upper())
    code, out, _ = leakage(tmp_path / "train.txt", tmp_path / "test.txt", "--no-model")
    assert code == 0
    assert out.startswith("About 5 of 15")


def test_a_phrase_that_is_common_in_training_is_no_leak(leakage: Call, tmp_path: Path) -> None:
    words = [" ".join(f"w{number * 7 + place}" for place in range(12)) for number in range(180)]
    (tmp_path / "train.txt").write_text("\n".join([*words[:120], *["Thank you"] * 20]))
    (tmp_path / "test.txt").write_text("\n".join([*words[120:], *["Thank you"] * 20]))
    code, out, err = leakage(tmp_path / "train.txt", tmp_path / "test.txt", "--no-model")
    assert code == 0
    assert out.startswith("None of the 80")
    assert "happens by chance" in err


def test_too_few_examples_to_judge_altered_copies_by_is_what_the_answer_says(
    leakage: Call, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 12, 12), dtype=np.uint8)
    folder(tmp_path / "train", images[:10])
    folder(tmp_path / "test", images[10:])
    code, out, err = leakage(tmp_path / "train", tmp_path / "test", "--no-model")
    assert code == 0
    assert "is identical to a training example; there are too few examples to judge" in out
    assert "only identical content was judged" in err


def test_columns_of_one_table_alone_are_dropped_or_named(
    leakage: Call, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    train, test = tables
    more = tmp_path / "more.csv"
    pl.read_csv(test).with_columns(pl.lit(1).alias("extra")).write_csv(more)
    code, _, err = leakage(train, more, "--no-model", "--label", "kind")
    assert code == 0
    assert "Not compared, since train.csv has none: extra." in err
    for first, second in ((train, more), (more, test)):
        code, _, err = leakage(first, second, "--no-model", "--label", "kind", "--drop", "extra")
        assert code == 0, err
        assert "Not compared, since" not in err
    code, _, err = leakage(train, test, "--no-model", "--drop", "nothing")
    assert code == 2
    assert "and the second table has no column 'nothing' for --drop" in err


def test_few_clean_rows_are_not_accused(leakage: Call, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for count in (5, 20, 60):
        for name, rows in (("train", count), ("test", 70)):
            cells = {f"f{place}": random.normal(size=rows) for place in range(4)}
            pl.DataFrame(cells).write_csv(tmp_path / f"{name}{count}.csv")
        code, out, err = leakage(
            tmp_path / f"train{count}.csv", tmp_path / f"test{count}.csv", "--no-model",
            "--fail-on", "0.001",
        )  # fmt: skip
        assert code == 0, out
        assert "only identical content was judged" in err


def test_bad_input_is_one_sentence(
    leakage: Call, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    train, test = tables
    images = np.random.default_rng(0).integers(0, 255, (4, 16, 16)).astype(np.uint8)
    pictures, one = folder(tmp_path / "some", images), folder(tmp_path / "one", images[:1])
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("one text\n")
    pl.read_csv(test).rename({"b": "z"}).write_csv(tmp_path / "odd.csv")
    cases = [
        ((train, pictures), 2, "is not a table"),
        ((pictures, train), 2, "is not a folder of images"),
        ((pictures, tmp_path / "empty"), 2, "holds no images"),
        ((tmp_path / "empty", pictures), 2, "holds no images"),
        ((one, pictures), 3, "holds 1 example: expected at least 2"),
        ((tmp_path / "a.txt", train), 2, "is not a text file"),
        ((train, tmp_path / "odd.csv"), 2, "no column 'b' for comparison"),
        ((train, tmp_path / "nothing.csv"), 2, "There is nothing at"),
        ((pictures, pictures, "--label", "x"), 2, "--label was given"),
    ]
    for arguments, expected, sentence in cases:
        code, _, err = leakage(*arguments, "--no-model", "-q")
        assert code == expected, (arguments, err)
        assert sentence in err
        assert err.strip().count("\n") == 0
    assert not list((tmp_path / "runs").glob("*"))


def test_a_model_needs_labels(leakage: Call, tmp_path: Path, tables: tuple[Path, Path]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 16, 16)).astype(np.uint8)
    code, _, err = leakage(folder(tmp_path / "flat", images))
    assert code == 2
    assert "no class folders" in err
    code, _, err = leakage(*tables)
    assert code == 2
    assert "--label" in err


def test_the_same_data_twice_is_said(leakage: Call, tables: tuple[Path, Path]) -> None:
    code, out, err = leakage(tables[0], tables[0], "--no-model")
    assert code == 0
    assert "The evaluation set is the train pool itself" in err
    assert "training examples" in out
