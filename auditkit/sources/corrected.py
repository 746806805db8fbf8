"""Corrected copies of tables and image folders: labels exchanged, examples left out.

What is not touched by a decision is copied as it is: cells of CSV files as text, lines of NDJSON
files byte for byte, image files whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from auditkit.errors import ColumnError, PoolError, SettingError, UnreadableError
from auditkit.sources.decisions import Decisions
from auditkit.sources.folders import FolderFile, walk
from auditkit.sources.frames import column, format_of, read_frame, row_ids, separator
from auditkit.sources.labels import label_names


def write_folder(data: Path, to: Path, decisions: Decisions) -> int:
    """Copy a folder of class folders; a fixed image goes into the folder of its new class.

    Hidden files and links that lead out of the folder are not copied. Where the new class folder
    has a file of that name already, the copy's name says which class it came from.

    Returns:
        How many images in class folders the data holds.

    Raises:
        SettingError: a label that cannot name a folder.
        UnknownNameError: a decision on an image that is not there.
    """
    files = [file for file in walk(data) if file is not None and file.path.exists()]
    examples = {file.id for file in files if file.is_image and file.label}
    decisions.refuse_unknown(examples, data=data.name)
    folders = {file.label: file.path.relative_to(data).parts[0] for file in files if file.label}
    for name, label in decisions.fixes.items():
        if label not in folders and not _names_folder(label):
            raise SettingError(
                f"The suggested label {label!r} of {name!r} cannot name a class folder: expected "
                f"one of {', '.join(map(repr, sorted(folders)))}, or another plain name without "
                "slashes or colons that does not begin with a dot."
            )
    places = _places(data, files, decisions, folders)
    to.mkdir()
    for file, place in places.items():
        target = to / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file.path, target)
    return len(examples)


def write_table(
    data: Path, to: Path, decisions: Decisions, *, id_column: str | None, label: str | None
) -> int:
    """Copy a table in its own format with labels exchanged and rows left out.

    A label that other rows have is written as it is written there.

    Returns:
        How many rows the data holds.

    Raises:
        ColumnError: a column that does not exist, or that cannot hold a suggested label.
        SettingError: fixes, and no label column was named.
        PoolError: ids that are missing or not unique.
        UnknownNameError: a decision on a row that is not there.
        UnreadableError: the file is no table of its kind.
    """
    frame = read_frame(data, verbatim=[id_column])
    ids = row_ids(frame, id_column, table=data.name)
    if len(set(ids)) < len(ids):
        raise PoolError(f"The ids in the column {id_column!r} of {data.name} are not unique.")
    decisions.refuse_unknown(ids, data=data.name)
    kept = [name not in decisions.drops for name in ids]
    fixes = {
        place: decisions.fixes[name] for place, name in enumerate(ids) if name in decisions.fixes
    }
    if fixes and label is None:
        raise SettingError(
            f"{len(fixes)} labels are to be fixed: name the column that holds them with --label."
        )
    correction = _Correction(data, frame, kept, fixes, label or "", _first_rows(data, frame, label))
    write = {"csv": _write_csv, "parquet": _write_parquet, "ndjson": _write_ndjson}
    write[format_of(data)](correction, to)
    return frame.height


@dataclass(frozen=True)
class _Correction:
    """What is to become of a table.

    Attributes:
        data: the file.
        frame: its rows.
        kept: whether each row stays.
        fixes: the label to give, by row.
        label: the column to change; empty where there is nothing to fix.
        rows: a row that has each label now.
    """

    data: Path
    frame: pl.DataFrame
    kept: Sequence[bool]
    fixes: Mapping[int, str]
    label: str
    rows: Mapping[str, int]


def _first_rows(data: Path, frame: pl.DataFrame, label: str | None) -> Mapping[str, int]:
    if label is None:
        return {}
    values = column(frame, label, table=data.name, role="labels")
    names = label_names(values, where=f"The label column {label!r} of {data.name}")
    rows: dict[str, int] = {}
    for place, name in enumerate(names):
        if name is not None:
            rows.setdefault(name, place)
    return rows


def _names_folder(label: str) -> bool:
    plain = not any(sign in label for sign in "/\\:") and label.isprintable()
    return plain and not label.startswith(".") and label == label.strip() and bool(label)


def _places(
    data: Path,
    files: Sequence[FolderFile],
    decisions: Decisions,
    folders: Mapping[str, str],
) -> Mapping[FolderFile, Path]:
    """Where each file that is kept goes, relative to the copy."""
    places: dict[FolderFile, Path] = {}
    moved = []
    for file in files:
        is_example = file.is_image and bool(file.label)
        if is_example and file.id in decisions.drops:
            continue
        if is_example and decisions.fixes.get(file.id, file.label) != file.label:
            moved.append(file)
        else:
            places[file] = file.path.relative_to(data)
    taken = set(places.values())
    for file in moved:
        old, *inner = file.path.relative_to(data).parts
        label = decisions.fixes[file.id]
        wanted = Path(folders.get(label, label), *inner)
        place, number = wanted, 1
        while place in taken:
            again = f"-{number}" if number > 1 else ""
            place = wanted.with_name(f"{wanted.stem}-from-{old}{again}{wanted.suffix}")
            number += 1
        taken.add(place)
        places[file] = place
    return places


def _write_csv(correction: _Correction, to: Path) -> None:
    data, frame, label = correction.data, correction.frame, correction.label
    split = separator(data)
    cells = pl.read_csv(data, separator=split, has_header=False, infer_schema=False)
    if cells.height != frame.height + 1:
        raise UnreadableError(
            f"{data.name} has {cells.height - 1} lines of cells for {frame.height} rows: save it "
            "again as plain CSV, or as Parquet."
        )
    if correction.fixes:
        at = frame.columns.index(label)
        texts = cells.to_series(at).to_list()
        known = {name: texts[place + 1] for name, place in correction.rows.items()}
        for place, name in correction.fixes.items():
            texts[place + 1] = known.get(name, name)
        cells = cells.with_columns(pl.Series(cells.columns[at], texts, dtype=pl.String))
    cells = cells.filter(pl.Series([True, *correction.kept]))
    cells.write_csv(to, separator=split, include_header=False)


def _write_parquet(correction: _Correction, to: Path) -> None:
    data, frame, label = correction.data, correction.frame, correction.label
    if correction.fixes:
        values = frame[label]
        before, cells = values.to_list(), values.to_list()
        for place, name in correction.fixes.items():
            cells[place] = (
                before[correction.rows[name]]
                if name in correction.rows
                else _new(name, values.dtype, label, data)
            )
        frame = frame.with_columns(pl.Series(label, cells, dtype=values.dtype))
    frame.filter(pl.Series(correction.kept)).write_parquet(to)


def _new(name: str, dtype: pl.DataType, label: str, data: Path) -> object:
    try:
        value: object = pl.Series([name]).cast(dtype).item()
    except pl.exceptions.PolarsError as error:
        raise ColumnError(
            f"The column {label!r} of {data.name} holds {dtype} and cannot hold the suggested "
            f"label {name!r}: suggest a label of that type."
        ) from error
    return value


def _write_ndjson(correction: _Correction, to: Path) -> None:
    data, frame, label = correction.data, correction.frame, correction.label
    lines = [line for line in data.read_text(encoding="utf-8").split("\n") if line.strip()]
    if len(lines) != frame.height:
        raise UnreadableError(
            f"{data.name} has {len(lines)} lines for {frame.height} rows: expected one object per "
            "line."
        )
    before = list(lines)
    for place, name in correction.fixes.items():
        example = json.loads(before[place])
        example[label] = (
            json.loads(before[correction.rows[name]])[label] if name in correction.rows else name
        )
        lines[place] = json.dumps(example, ensure_ascii=False)
    with to.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(
            f"{line}\n" for line, keep in zip(lines, correction.kept, strict=True) if keep
        )
