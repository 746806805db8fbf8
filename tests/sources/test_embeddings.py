from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.datasets import load_digits

from auditkit.errors import (
    AuditkitError,
    ColumnError,
    FeatureError,
    LabelError,
    PoolError,
    SettingError,
    SubjectReferenceError,
    UnreadableError,
)
from auditkit.hookspecs import SourceOptions
from auditkit.preview import RowPreview
from auditkit.sources import load
from auditkit.sources.vectors import read_vectors


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    vectors, labels = load_digits(return_X_y=True)
    return vectors[:300].astype(np.float64), labels[:300]


@pytest.fixture
def folder(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    vectors, labels = digits
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "labels.npy", labels)
    (tmp_path / "labels.txt").write_text("".join(f"d{label}\r\n" for label in labels))
    ids = [f"{row:05d}" for row in range(300)]
    table = pl.DataFrame({"name": ids, "digit": labels, "note": ["<b>"] * 300})
    table.write_csv(tmp_path / "labels.csv")
    lists = pl.Series("vector", vectors.tolist(), dtype=pl.List(pl.Float64))
    table.with_columns(lists).write_parquet(tmp_path / "lists.parquet")
    arrays = lists.cast(pl.Array(pl.Float32, 64))
    table.with_columns(arrays).write_parquet(tmp_path / "arrays.parquet")
    wide = pl.DataFrame({f"v{place}": vectors[:, place] for place in range(64)})
    pl.concat([table, wide], how="horizontal").write_parquet(tmp_path / "wide.parquet")
    return tmp_path


def options(label: str | None, **settings: object) -> SourceOptions:
    return SourceOptions(embeddings=True, label=label, **settings)


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("vectors.npy", "labels.npy"),
        ("vectors.npy", "labels.txt"),
        ("vectors.npy", "labels.csv:digit"),
        ("lists.parquet", "digit"),
        ("arrays.parquet", "digit"),
        ("wide.parquet", "digit"),
    ],
)
def test_every_form_holds_the_same_vectors_and_labels(
    folder: Path, digits: tuple[np.ndarray, np.ndarray], file: str, label: str
) -> None:
    table, vectors = read_vectors(folder / file, options(label))
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, digits[0])
    assert [int(name.removeprefix("d")) for name in table.labels] == digits[1].tolist()


def test_embeddings_become_a_subject(folder: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    subject = load(str(folder / "vectors.npy"), options("labels.npy"))
    inputs, labels = subject.train.dataset.rows(np.arange(300))
    assert np.array_equal(labels, digits[1])
    centred = digits[0] - digits[0].mean(axis=0)
    np.testing.assert_allclose(inputs, centred / centred.std(), rtol=1e-3, atol=1e-4)
    assert subject.task.class_names == tuple(str(digit) for digit in range(10))
    with torch.no_grad():
        scores = subject.task.model(torch.from_numpy(inputs))
    assert (scores.argmax(dim=1).numpy() == labels).mean() > 0.9
    assert "300 embeddings of 64 dimensions and 10 classes" in subject.description[0]
    assert subject.train.preview(0) is None


def test_ids_and_other_cells_come_from_the_table_of_labels(folder: Path) -> None:
    table, _ = read_vectors(folder / "lists.parquet", options("digit", id="name"))
    assert table.ids[3] == "00003"
    subject = load(str(folder / "vectors.npy"), options("labels.csv:digit", id="name"))
    assert subject.train.ids[3] == "00003"
    assert subject.train.preview(3) == RowPreview({"name": "00003", "note": "<b>"})


def test_a_second_table_becomes_the_queries(folder: Path) -> None:
    second = folder / "lists.parquet"
    subject = load(str(folder / "wide.parquet"), options("digit", trusted=second))
    assert subject.queries is not None
    ours, theirs = subject.train[5], subject.queries[5]
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
    with pytest.raises(SettingError, match=r"vectors\.npy would need labels of its own"):
        load(str(second), options("digit", trusted=folder / "vectors.npy"))
    pl.read_parquet(folder / "wide.parquet").drop("v0").write_parquet(folder / "less.parquet")
    with pytest.raises(FeatureError, match=r"have 63 dimensions and those of the first file 64"):
        load(str(second), options("digit", trusted=folder / "less.parquet"))


@pytest.mark.parametrize(
    ("file", "label", "error", "message"),
    [
        ("vectors.npy", None, SettingError, "Where are the labels of vectors.npy"),
        ("vectors.npy", "label.npy", SubjectReferenceError, "did you mean 'labels.npy'"),
        ("vectors.npy", "labels.csv:digits", ColumnError, "did you mean 'digit'"),
        ("vectors.npy", "labels.csv", SettingError, "labels.csv:COLUMN"),
        ("vectors.npy", "vectors.npy", ColumnError, "expected one number or text per row"),
        ("lists.parquet", "digits", ColumnError, "no column 'digits' for labels"),
        ("lists.parquet", "name", LabelError, "has one example"),
        ("labels.txt", "digit", SubjectReferenceError, "labels.txt cannot hold embeddings"),
    ],
)
def test_labels_that_are_not_there_are_one_sentence(
    folder: Path, file: str, label: str | None, error: type[AuditkitError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        load(str(folder / file), options(label))
    assert "\n" not in str(caught.value)


def test_another_number_of_labels_is_refused(folder: Path) -> None:
    np.save(folder / "few.npy", np.zeros(7))
    with pytest.raises(PoolError, match=r"few\.npy has 7 labels and vectors\.npy has 300 rows"):
        load(str(folder / "vectors.npy"), options("few.npy"))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (1e60, "inf")])
def test_numbers_that_are_none_name_the_row(folder: Path, value: float, word: str) -> None:
    vectors = np.load(folder / "vectors.npy")
    vectors[17, 3] = value
    np.save(folder / "odd.npy", vectors)
    with pytest.raises(FeatureError, match=rf"row '17' of odd.npy is {word}.* in dimension 3"):
        load(str(folder / "odd.npy"), options("labels.npy"))
    lists = pl.Series("vector", vectors.tolist())
    table = pl.read_parquet(folder / "lists.parquet").with_columns(lists)
    table.write_parquet(folder / "odd.parquet")
    with pytest.raises(FeatureError, match=rf"row '00017' of odd.parquet is {word}"):
        load(str(folder / "odd.parquet"), options("digit", id="name"))


def test_arrays_of_objects_are_refused_and_never_unpickled(folder: Path) -> None:
    class Witness:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (folder / "ran",)

    np.save(folder / "objects.npy", np.array([Witness()], dtype=object), allow_pickle=True)
    for file, label in (("objects.npy", "labels.npy"), ("vectors.npy", "objects.npy")):
        with pytest.raises(UnreadableError, match=r"holds Python objects.*could run code"):
            load(str(folder / file), options(label))
    assert not (folder / "ran").exists()


def test_what_is_no_matrix_of_numbers_is_refused(folder: Path) -> None:
    for name, array in (
        ("flat", np.zeros(5)),
        ("words", np.array([["a"]])),
        ("none", np.zeros((0, 4))),
    ):
        np.save(folder / f"{name}.npy", array)
        with pytest.raises(FeatureError, match=f"{name}.npy holds an array of shape"):
            load(str(folder / f"{name}.npy"), options("labels.npy"))
    (folder / "broken.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UnreadableError, match=r"broken.npy cannot be read as an array"):
        load(str(folder / "broken.npy"), options("labels.npy"))


def test_ragged_double_and_missing_vectors_are_refused(folder: Path) -> None:
    base = {"y": ["a", "b"] * 2}
    for name, columns, error, message in (
        ("ragged", {"v": [[1.0], [1.0, 2.0], [1.0], [1.0]]}, FeatureError, "row '1' .* 2 numbers"),
        ("two", {"v": [[1.0]] * 4, "w": [[1.0]] * 4}, ColumnError, "several columns of vectors"),
        ("gap", {"v": [1.0, None, 2.0, 3.0]}, FeatureError, "'v' of gap.parquet is empty in row"),
        ("no", {"v": ["x"] * 4}, FeatureError, "no column of lists of numbers"),
        ("hole", {"v": [[1.0, None]] * 4}, FeatureError, "row '0' of hole.parquet is NaN"),
    ):  # fmt: skip
        pl.DataFrame({**base, **columns}).write_parquet(folder / f"{name}.parquet")
        with pytest.raises(error, match=message):
            load(str(folder / f"{name}.parquet"), options("y"))
