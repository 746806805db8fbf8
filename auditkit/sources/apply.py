"""Decisions made in a report, carried out on a copy of the data; the data itself stays as it is."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from auditkit.errors import SettingError, StoreError, SubjectReferenceError
from auditkit.sources.corrected import write_folder, write_table
from auditkit.sources.decisions import read_decisions
from auditkit.sources.frames import TABLE_SUFFIXES


@dataclass(frozen=True)
class AppliedCounts:
    """How many examples were kept as they are, given another label, and dropped."""

    kept: int
    fixed: int
    dropped: int

    def __str__(self) -> str:
        return f"Labels fixed: {self.fixed:,}; dropped: {self.dropped:,}; kept: {self.kept:,}."


def apply_decisions(
    decisions: Path, data: Path, out: Path, *, id_column: str | None, label: str | None
) -> AppliedCounts:
    """Write a corrected copy of a table or of a folder of images, whole or not at all.

    Args:
        decisions: a CSV file with the columns `example_id`, `decision` (keep, fix or drop; empty
            means keep) and, for fixes, `suggested_label`.
        data: the table or folder that was audited.
        out: where the copy goes; of a table in the same format. Nothing may be there yet.
        id_column: the column of the table that holds the ids; by default row numbers.
        label: the column of the table that holds the labels; needed for fixes.

    Raises:
        UsageError: what is asked for cannot be done; nothing is written.
        DataError: a file that cannot be read as what it should be.
        StoreError: the copy cannot be written.
    """
    made = read_decisions(decisions)
    _check_places(data, out)
    if data.is_dir() and (id_column or label):
        raise SettingError(
            f"{data.name} is a folder of images, whose ids are paths and whose labels are folders: "
            "leave out --id and --label."
        )
    with _writing(out) as temporary:
        if data.is_dir():
            total = write_folder(data, temporary, made)
        else:
            total = write_table(data, temporary, made, id_column=id_column, label=label)
    fixed, dropped = len(made.fixes), len(made.drops)
    return AppliedCounts(kept=total - fixed - dropped, fixed=fixed, dropped=dropped)


def _check_places(data: Path, out: Path) -> None:
    suffix = data.suffix.lower()
    if not data.is_dir() and (not data.is_file() or suffix not in TABLE_SUFFIXES):
        raise SubjectReferenceError(
            f"{data} is neither a table ({', '.join(TABLE_SUFFIXES)}) nor a folder of images: give "
            "the data the report was made of."
        )
    if out.exists() or out.is_symlink():
        raise SettingError(f"There is something at {out} already: give --out a new name.")
    if not out.parent.is_dir():
        raise SettingError(f"There is no folder {out.parent} to write to: make it first.")
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise SettingError(f"{out} lies in {data}, which must not change: write somewhere else.")
    if data.is_file() and out.suffix.lower() != suffix:
        raise SettingError(
            f"The copy is written as {suffix} like the data, and --out is {out.name}: end it with "
            f"{suffix}."
        )


@contextmanager
def _writing(out: Path) -> Iterator[Path]:
    """Give a temporary place beside `out`; rename it at the end, or remove it."""
    temporary = out.parent / f".{out.stem}-{uuid.uuid4().hex[:8]}.writing"
    try:
        try:
            yield temporary
            temporary.rename(out)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise StoreError(
            f"The corrected copy could not be written to {out}: {reason}; give a place with room "
            "that you may write to."
        ) from error
