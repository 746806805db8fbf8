from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from auditkit.errors import (
    ColumnError,
    PoolError,
    SettingError,
    SubjectReferenceError,
    UnreadableError,
)
from auditkit.hookspecs import SourceOptions
from auditkit.preview import ImagePreview, RowPreview, TextPreview
from auditkit.sources import load


def options(evaluation: Path | None = None, **changes: str | None) -> SourceOptions:
    return SourceOptions(model=False, evaluation=evaluation, **changes)  # type: ignore[arg-type]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def test_folders_may_be_flat_or_by_class(image_folder: Callable[..., Path], flat: Path) -> None:
    subject = load(str(image_folder()), options(flat))
    assert subject.task is None
    assert subject.train.label == "label"
    assert set(subject.train.metadata["label"]) == {"bright", "dark"}
    assert subject.queries is not None
    assert subject.queries.label is None
    assert subject.queries.ids == ("0.png", "1.png", "2.png")
    assert np.array_equal(np.asarray(subject.queries[1]), np.full((8, 8), 40))
    assert isinstance(subject.queries.preview(0), ImagePreview)
    assert "3 images from flat are the queries." in subject.description


def test_evaluation_images_take_the_size_of_the_training_images(
    image_folder: Callable[..., Path],
) -> None:
    other = image_folder("large", count=2, size=(20, 20), mode="RGB")
    subject = load(str(image_folder()), options(other))
    assert subject.queries is not None
    assert np.asarray(subject.queries[0]).shape == (8, 8)


def test_a_table_needs_no_labels(tmp_path: Path, every_kind: pl.DataFrame) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    every_kind.drop("remark").write_csv(path)
    every_kind.drop("remark", "species").head(5).write_csv(other)
    subject = load(str(path), options(other, label="species", id="sample_id"))
    assert subject.task is None
    assert subject.train.label == "species"
    assert subject.train.contents == ("length", "count", "mass", "ringed", "seen", "island")
    assert subject.queries is not None
    assert subject.queries.ids[0] == "0000"
    assert subject.queries.label is None
    assert subject.queries.contents == subject.train.contents
    assert isinstance(subject.queries.preview(0), RowPreview)
    assert "b.csv has no column 'species': it has no labels." in subject.description
    bare = load(str(path), options())
    assert bare.train.label is None
    assert "species" in bare.train.contents


def test_columns_are_read_with_the_types_of_the_first_table(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text("x,y\n1.5,a\n2,b\n")
    other.write_text("x,y\n2,b\n3,b\n")
    subject = load(str(path), options(other))
    assert subject.queries is not None
    assert subject.queries.metadata.schema["x"] == pl.Float64()
    other.write_text("x,y\nno,b\nyes,b\n")
    with pytest.raises(ColumnError, match=r"'x' of b\.csv holds"):
        load(str(path), options(other))
    other.write_text("z,y\n2,b\n3,b\n")
    with pytest.raises(ColumnError, match=r"b\.csv has no column 'x' for comparison"):
        load(str(path), options(other))


def test_a_column_of_texts_is_what_examples_consist_of(
    tmp_path: Path, every_kind: pl.DataFrame
) -> None:
    path = tmp_path / "a.parquet"
    every_kind.write_parquet(path)
    subject = load(str(path), options(text="remark"))
    assert subject.train.contents == ("remark",)
    assert isinstance(subject.train.preview(0), TextPreview)


def test_a_text_file_holds_a_document_a_line(tmp_path: Path) -> None:
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("one two\r\n\nthree\n", encoding="utf-8-sig")
    other.write_text("three")
    subject = load(str(path), options(other))
    assert [subject.train[place] for place in range(2)] == ["one two", "three"]
    assert subject.train.ids == ("0", "2")
    assert subject.train.preview(0) == TextPreview("one two")
    assert subject.description[:2] == (
        ["2 texts of a.txt, one a line.", "Left out: 1 empty lines of a.txt."]
    )
    assert subject.queries is not None
    assert len(subject.queries) == 1


def test_code_gives_its_data_without_its_model(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text(
        "from auditkit.testing import tiny_subject\nsubject = tiny_subject(examples=40, epochs=1)\n"
    )
    assert load(f"{tmp_path / 'digits.py'}:subject", options()).task is None


def test_bad_input_is_refused_in_a_sentence(tmp_path: Path, flat: Path) -> None:
    table, texts, empty = tmp_path / "a.csv", tmp_path / "a.txt", tmp_path / "empty"
    table.write_text("x,y\n1,a\n2,b\n")
    texts.write_text("hello\n")
    empty.mkdir()
    (tmp_path / "none.txt").write_text("\n \n")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "constant.csv").write_text("x\n1\n1\n")
    cases: list[tuple[Path, SourceOptions, type[Exception], str]] = [
        (flat, options(table), SubjectReferenceError, "is not a folder of images"),
        (flat, options(empty), SubjectReferenceError, "holds no images"),
        (empty, options(), SubjectReferenceError, "holds no images"),
        (flat, options(label="x"), SettingError, "--label was given"),
        (table, options(texts), SubjectReferenceError, "is not a table"),
        (table, options(label="z"), ColumnError, "no column 'z' for labels"),
        (table, options(text="z"), ColumnError, "no column 'z' for free text"),
        (texts, options(table), SubjectReferenceError, "is not a text file"),
        (texts, options(id="x"), SettingError, "--id was given"),
        (tmp_path / "none.txt", options(), PoolError, "holds no text"),
        (tmp_path / "bad.txt", options(), UnreadableError, "UTF-8"),
        (tmp_path / "constant.csv", options(), SettingError, "is left to compare"),
        (table, SourceOptions(model=False, embeddings=True), SettingError, "and --no-model too"),
    ]
    (tmp_path / "a.bmp").write_bytes(b"1")
    cases.append((tmp_path / "a.bmp", options(), SubjectReferenceError, "without a model"))
    for path, chosen, error, message in cases:
        with pytest.raises(error, match=message):
            load(str(path), chosen)


def test_texts_cannot_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello\n")
    with pytest.raises(SubjectReferenceError, match="--no-model"):
        load(str(tmp_path / "a.txt"), SourceOptions())
