"""Embeddings as files hold them: arrays with a file of labels, or tables with both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import (
    ColumnError,
    FeatureError,
    PoolError,
    SettingError,
    SubjectReferenceError,
    UnreadableError,
    did_you_mean,
)
from auditkit.sources.frames import TABLE_SUFFIXES, read_frame
from auditkit.sources.labelled import LabelledTable, labelled, read_labelled

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions

Vectors = npt.NDArray[np.float32]


def read_vectors(path: Path, options: SourceOptions) -> tuple[LabelledTable, Vectors]:
    """The labelled rows of a file, and their vectors, float32 [row, dimension].

    Raises:
        SubjectReferenceError: a file of another kind, or a label file that does not exist.
        ColumnError: a column that does not exist or cannot be the labels.
        FeatureError: a NaN or infinite number, or no vectors at all.
        PoolError: another number of labels than of vectors.
        UnreadableError: the file is no array or table, or holds pickled objects.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        table, vectors = _from_array(path, options)
    elif suffix in TABLE_SUFFIXES:
        table, vectors = _from_table(path, options)
    else:
        raise SubjectReferenceError(
            f"{path.name} cannot hold embeddings: expected a .npy file or a table "
            f"({', '.join(TABLE_SUFFIXES)})."
        )
    wrong = ~np.isfinite(vectors).all(axis=1)
    if wrong.any():
        place = int(wrong.argmax())
        value = "NaN" if np.isnan(vectors[place]).any() else "infinite"
        dimension = int((~np.isfinite(vectors[place])).argmax())
        raise FeatureError(
            f"The embedding of row {table.ids[place]!r} of {path.name} is {value} in dimension "
            f"{dimension}: embed that example again, or leave it out."
        )
    return table, vectors


def _from_table(path: Path, options: SourceOptions) -> tuple[LabelledTable, Vectors]:
    table = read_labelled(path, options)
    apart = {options.label, options.id, *options.drop}
    candidates = [column for column in table.frame.iter_columns() if column.name not in apart]
    lists = [column for column in candidates if _holds_vectors(column.dtype)]
    if len(lists) > 1:
        raise ColumnError(
            f"{path.name} has several columns of vectors "
            f"({', '.join(repr(column.name) for column in lists)}): leave out all but one with "
            "--drop."
        )
    if lists:
        vectors = _stacked(lists[0], table)
        used = {lists[0].name}
    else:
        numeric = [column for column in candidates if column.dtype.is_numeric()]
        if not numeric:
            raise FeatureError(
                f"{path.name} has no column of lists of numbers and no numeric columns: expected "
                "embeddings in one of these forms."
            )
        gaps = next((column for column in numeric if column.null_count()), None)
        if gaps is not None:
            place = int(gaps.is_null().arg_max() or 0)
            raise FeatureError(
                f"The column {gaps.name!r} of {path.name} is empty in row {table.ids[place]!r}: an "
                "embedding has a number in each dimension; leave the column out with --drop."
            )
        with np.errstate(over="ignore"):  # what does not fit is refused as infinite
            arrays = [column.to_numpy().astype(np.float32) for column in numeric]
        vectors = np.stack(arrays, axis=1)
        used = {column.name for column in numeric}
    rest = table.frame.select([name for name in table.frame.columns if name not in used])
    return replace(table, frame=rest), vectors


def _holds_vectors(dtype: pl.DataType) -> bool:
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else None
    return isinstance(inner, pl.DataType) and inner.is_numeric()


def _stacked(column: pl.Series, table: LabelledTable) -> Vectors:
    vectors = column.to_list()
    lengths = [0 if vector is None else len(vector) for vector in vectors]
    odd = next(
        (at for at, length in enumerate(lengths) if length != lengths[0] or not length), None
    )
    if odd is not None:
        raise FeatureError(
            f"The embedding of row {table.ids[odd]!r} of {table.name} has {lengths[odd]} numbers "
            f"and the first row's has {lengths[0]}: expected the same number, at least one, in "
            "each row."
        )
    with np.errstate(over="ignore"):  # what does not fit is refused as infinite
        return np.array(vectors, dtype=np.float64).astype(np.float32)


def _from_array(path: Path, options: SourceOptions) -> tuple[LabelledTable, Vectors]:
    if options.drop:
        raise SettingError(f"--drop was given, and {path.name} has no columns: leave it out.")
    array = _load_array(path)
    numeric = np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)
    if array.ndim != 2 or not array.size or not numeric:
        raise FeatureError(
            f"{path.name} holds an array of shape {array.shape} and type {array.dtype}: "
            "expected numbers [example, dimension]."
        )
    with np.errstate(over="ignore"):  # what does not fit is refused as infinite
        vectors = array.astype(np.float32)
    table = _label_table(path, options)
    rows = table.frame.height + table.unlabelled
    if rows != len(vectors):
        raise PoolError(
            f"{table.name} has {rows} labels and {path.name} has {len(vectors)} rows: expected one "
            "label per row."
        )
    return table, vectors[np.array(table.places, dtype=np.int64)]


def _load_array(path: Path) -> npt.NDArray[np.generic]:
    try:
        loaded: object = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "allow_pickle" in str(error):
            raise UnreadableError(
                f"{path.name} holds Python objects, and loading them could run code that somebody "
                "else wrote: save a plain array of numbers, or of texts for labels."
            ) from error
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UnreadableError(
            f"{path.name} cannot be read as an array: {reason}; expected what numpy.save writes."
        ) from error
    if not isinstance(loaded, np.ndarray):
        raise UnreadableError(f"{path.name} holds several arrays: expected one, as .npy.")
    return loaded


def _label_table(embeddings: Path, options: SourceOptions) -> LabelledTable:
    """The rows of the label file of an array."""
    if options.label is None:
        raise SettingError(
            f"Where are the labels of {embeddings.name}? Name a file with one per row: --label "
            "labels.npy, --label labels.txt or --label table.csv:COLUMN."
        )
    path, name = _label_file(options.label, embeddings)
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        frame = read_frame(path, verbatim=[options.id])
        if name is None and frame.width > 1:
            raise SettingError(
                f"Which column of {path.name} holds the labels? Write --label {path.name}:COLUMN; "
                f"there are {', '.join(frame.columns[:20])}."
            )
        return labelled(frame, name or frame.columns[0], id_column=options.id, table=path.name)
    if options.id is not None:
        raise SettingError(
            f"--id was given, and {path.name} has no columns: give the labels as table.csv:COLUMN, "
            "or leave --id out to use row numbers."
        )
    values = _labels_of_array(path) if suffix == ".npy" else _labels_of_lines(path)
    return labelled(values.to_frame(), "label", id_column=None, table=path.name)


def _label_file(reference: str, embeddings: Path) -> tuple[Path, str | None]:
    """The file of labels, and the column of it that was named."""
    head, colon, last = reference.rpartition(":")
    for name, column in ((reference, None), (head, last)) if colon else ((reference, None),):
        for path in (Path(name).expanduser(), embeddings.parent / name):
            if path.is_file():
                if path.suffix.lower() not in (".npy", ".txt", *TABLE_SUFFIXES):
                    raise SubjectReferenceError(
                        f"{path.name} cannot hold labels: expected labels.npy, labels.txt (one per "
                        "line) or table.csv:COLUMN."
                    )
                return path, column
    known = [path.name for path in embeddings.parent.iterdir() if path.is_file()]
    raise SubjectReferenceError(
        f"There is no file of labels {reference!r}, here or beside {embeddings.name}: "
        f"{did_you_mean(Path(head if colon else reference).name, known)}"
    )


def _labels_of_array(path: Path) -> pl.Series:
    values = _load_array(path)
    if values.ndim != 1 or values.dtype.kind not in "biufU":
        raise ColumnError(
            f"{path.name} holds an array of shape {values.shape} and type {values.dtype}: expected "
            "one number or text per row."
        )
    return pl.Series("label", values.tolist())


def _labels_of_lines(path: Path) -> pl.Series:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UnreadableError(f"{path.name} cannot be read as UTF-8 text: {error}.") from error
    return pl.Series("label", text.removesuffix("\n").split("\n"), dtype=pl.String)
