"""The rows of a table that have a label, with their ids: what tables and embeddings begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from auditkit.errors import ColumnError, SettingError
from auditkit.sources.frames import column, read_frame, row_ids
from auditkit.sources.labels import label_names

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions


@dataclass(frozen=True)
class LabelledTable:
    """The rows of a table that have a label.

    Attributes:
        name: the file's name.
        label: the column the labels are in.
        frame: the rows as they are.
        labels: the class of each, as text.
        ids: the id of each.
        places: the row of the file each was, from 0.
        unlabelled: how many rows were left out.
    """

    name: str
    label: str
    frame: pl.DataFrame
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    places: tuple[int, ...]
    unlabelled: int

    @property
    def sentences(self) -> list[str]:
        """What was left out, in words."""
        count = self.unlabelled
        return [f"Left out: {count:,} rows of {self.name}, without a label."] if count else []


def read_labelled(path: Path, options: SourceOptions) -> LabelledTable:
    """The rows of a table file that have a label in the column `options.label`.

    Raises:
        SettingError: no label column was named.
        ColumnError: a column that does not exist, or a label column that is empty.
        PoolError: no rows, or a row without an id.
        UnreadableError: the file is no table of its kind.
    """
    frame = read_frame(path, verbatim=[options.id])
    if options.label is None:
        shown = ", ".join(frame.columns[:20]) + (", ..." if frame.width > 20 else "")
        written = options.language and options.text is not None
        raise SettingError(
            f"Which column of {path.name} holds the labels? Name it with --label COLUMN; there "
            f"are {shown}."
            + (
                " If a language model was trained on the texts, give --model DIR."
                if written
                else ""
            )
        )
    for name, role in ((options.text, "free text"), *((name, "--drop") for name in options.drop)):
        if name is not None:
            column(frame, name, table=path.name, role=role)
    if options.label in (options.text, *options.drop, options.id):
        raise ColumnError(
            f"The column {options.label!r} of {path.name} holds the labels and cannot be given "
            "with --text, --drop or --id too."
        )
    return labelled(frame, options.label, id_column=options.id, table=path.name)


def has_labels(path: Path, options: SourceOptions) -> bool:
    """Whether a table has the column of labels.

    Raises:
        PoolError: no rows.
        UnreadableError: the file is no table of its kind.
    """
    return options.label in read_frame(path, verbatim=[options.id]).columns


def labelled(
    frame: pl.DataFrame, label: str, *, id_column: str | None, table: str
) -> LabelledTable:
    """The rows of a frame that have a label.

    Raises:
        ColumnError: a column that does not exist, or a label column that is empty.
        PoolError: a row without an id.
    """
    values = column(frame, label, table=table, role="labels")
    names = label_names(values, where=f"The label column {label!r} of {table}")
    ids = row_ids(frame, id_column, table=table)
    kept = names.is_not_null()
    places = tuple(kept.arg_true().to_list())
    return LabelledTable(
        name=table,
        label=label,
        frame=frame.filter(kept),
        labels=tuple(names.filter(kept).to_list()),
        ids=tuple(ids[place] for place in places),
        places=places,
        unlabelled=frame.height - len(places),
    )
