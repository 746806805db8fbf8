"""Tables with a label column, with a small classifier trained on their features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import SubjectReferenceError
from auditkit.pool import Pool
from auditkit.preview import Preview, TextPreview, row_preview
from auditkit.progress import SILENT, Progress
from auditkit.sources.columns import Columns, choose
from auditkit.sources.features import Matrix, TableFeatures, dtypes_of, plain
from auditkit.sources.fitting import fit_classifier
from auditkit.sources.frames import TABLE_SUFFIXES, as_text, read_frame, row_ids
from auditkit.sources.labelled import LabelledTable, has_labels, read_labelled
from auditkit.sources.labels import classes, codes
from auditkit.sources.models import TableModel
from auditkit.subject import Subject

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions

_EPOCHS = 50


def load_table(path: Path, options: SourceOptions, *, progress: Progress = SILENT) -> Subject:
    """A subject of a table: a row is an example, `options.label` names the column of labels.

    Columns are sorted into features by `auditkit.sources.columns.choose`. Ids are the cells of
    `options.id`, or the number of the row in the file, from 0.

    Raises:
        ColumnError: a column that does not exist, or a label column that is empty.
        LabelError: too few classes or examples, or labels that are quantities.
        FeatureError: a NaN or infinite number, or no feature at all.
        PoolError: no rows, or ids that are missing or not unique.
        UnreadableError: the file is no table of its kind.
    """
    table = read_labelled(path, options)
    names = classes(table.labels, table.ids)
    columns = _columns(table, options)
    features = TableFeatures(columns, seed=options.seed)
    values = features.fit(plain(table.frame), table.ids)
    train = _pool(table, values, codes(table.labels, names, table.ids, where=table.name), columns)
    queries, remarks = _queries(options, names, features)
    fitted = fit_classifier(
        lambda: TableModel(values.shape[1], len(names)),
        train,
        class_names=names,
        kind="a network with two hidden layers",
        epochs=_EPOCHS,
        options=options,
        progress=progress,
    )
    return fitted.subject(
        train,
        queries,
        name=path.name,
        description=(
            f"{len(train):,} rows of {len(names)} classes ({options.label}) from {path.name}.",
            *table.sentences,
            *columns.sentences,
            *remarks,
        ),
    )


def _columns(table: LabelledTable, options: SourceOptions) -> Columns:
    frame = plain(table.frame)
    apart = [name for name in (options.label, options.id) if name is not None]
    return choose(
        frame,
        dtypes=dtypes_of(frame.drop(apart)),
        apart=apart,
        drop=options.drop,
        text=options.text,
    )


def _queries(
    options: SourceOptions, names: Sequence[str], features: TableFeatures
) -> tuple[Pool | None, list[str]]:
    """The pool of the second table, if one was given, with the features of the first."""
    path = options.trusted or options.evaluation
    if path is None:
        return None, []
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        raise SubjectReferenceError(
            f"{path} is not a table: expected a file with one of the extensions "
            f"{', '.join(TABLE_SUFFIXES)}, like the first one."
        )
    if options.unlabelled and not has_labels(path, options):
        frame = read_frame(path, verbatim=[options.id])
        ids = row_ids(frame, options.id, table=path.name)
        values = features.transform(plain(frame), ids, table=path.name)
        pool = _frame_pool(frame, (values,), ids, label=None, columns=features.columns)
        return pool, [
            f"{len(pool):,} rows of {path.name} are the queries.",
            f"{path.name} has no column {options.label!r}: no labels.",
        ]
    table = read_labelled(path, options)
    values = features.transform(plain(table.frame), table.ids, table=path.name)
    labels = codes(table.labels, names, table.ids, where=path.name)
    pool = _pool(table, values, labels, features.columns)
    return pool, [f"{len(pool):,} rows of {path.name} are the queries.", *table.sentences]


def _pool(
    table: LabelledTable, values: Matrix, labels: npt.NDArray[np.int64], columns: Columns
) -> Pool:
    return _frame_pool(table.frame, (values, labels), table.ids, label=table.label, columns=columns)


def _frame_pool(
    frame: pl.DataFrame,
    arrays: Sequence[npt.NDArray[np.generic]],
    ids: Sequence[str],
    *,
    label: str | None,
    columns: Columns,
) -> Pool:
    """A pool of arrays that shows the rows of a frame."""
    shown = [name for name in frame.columns if name != label]

    def preview(position: int) -> Preview:
        if len(columns.texts) == 1:
            cell = frame[columns.texts[0]][position]
            return TextPreview("" if cell is None else as_text(cell))
        cells = frame.select(shown).row(position)
        return row_preview(shown, [None if cell is None else as_text(cell) for cell in cells])

    return Pool.from_arrays(
        *arrays, ids=ids, metadata=frame, preview=preview, label=label, contents=columns.features
    )
