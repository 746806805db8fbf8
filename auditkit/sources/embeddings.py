"""Files of embeddings with labels, with a linear layer trained on them.

The rule: **a table** (Parquet, CSV, TSV or NDJSON) holds the labels in the column `--label`, and
the embeddings in its one column of lists of numbers, or else in all its numeric columns but the
label, the id and those of `--drop`. **A `.npy` file** is an array [example, dimension], and
`--label` names a file with one label per row: `labels.npy`, `labels.txt` (a label per line), or
`table.csv:COLUMN` (any table; `--id` may then name a column of it). A label file is looked for
beside the embeddings too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit.errors import FeatureError, SettingError
from auditkit.pool import Pool
from auditkit.preview import Preview, row_preview
from auditkit.progress import SILENT, Progress
from auditkit.sources.fitting import fit_classifier
from auditkit.sources.frames import as_text
from auditkit.sources.labelled import LabelledTable
from auditkit.sources.labels import classes, codes
from auditkit.sources.models import LinearModel
from auditkit.sources.vectors import Vectors, read_vectors
from auditkit.subject import Subject

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions

_EPOCHS = 50


def load_embeddings(path: Path, options: SourceOptions, *, progress: Progress = SILENT) -> Subject:
    """A subject of a file of embeddings; see the top of this file for how labels are given.

    The vectors are centred and divided by one common scale, both taken from the train pool.

    Raises:
        ColumnError: a column that does not exist or cannot be the labels.
        FeatureError: a NaN or infinite number, or no vectors at all.
        LabelError: too few classes or examples, or labels that are quantities.
        PoolError: no rows, ids that are not unique, or another number of labels than of vectors.
        UnreadableError: the file is no array or table, or holds pickled objects.
    """
    table, vectors = read_vectors(path, options)
    names = classes(table.labels, table.ids)
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = float((vectors - centre).std(dtype=np.float64)) or 1.0
    labels = codes(table.labels, names, table.ids, where=table.name)
    train = _pool(table, (vectors - centre) / np.float32(scale), labels)
    queries, remarks = None, list[str]()
    second = options.trusted or options.evaluation
    if second is not None:
        other, others = _read_second(second, options, dimensions=vectors.shape[1])
        found = codes(other.labels, names, other.ids, where=other.name)
        queries = _pool(other, (others - centre) / np.float32(scale), found)
        remarks = [f"{len(queries):,} vectors of {other.name} are the queries.", *other.sentences]
    fitted = fit_classifier(
        lambda: LinearModel(vectors.shape[1], len(names)),
        train,
        class_names=names,
        kind="a linear layer",
        epochs=_EPOCHS,
        options=options,
        progress=progress,
    )
    return fitted.subject(
        train,
        queries,
        name=path.name,
        description=(
            f"{len(train):,} embeddings of {vectors.shape[1]} dimensions and {len(names)} classes "
            f"from {path.name}, centred and brought to a common scale.",
            *table.sentences,
            *remarks,
        ),
    )


def _read_second(
    path: Path, options: SourceOptions, *, dimensions: int
) -> tuple[LabelledTable, Vectors]:
    if path.suffix.lower() == ".npy":
        raise SettingError(
            f"{path.name} would need labels of its own, and --label names those of the first file: "
            "give both as tables (Parquet, say) that hold their labels in a column."
        )
    table, vectors = read_vectors(path, options)
    if vectors.shape[1] != dimensions:
        raise FeatureError(
            f"The embeddings of {path.name} have {vectors.shape[1]} dimensions and those of the "
            f"first file {dimensions}: embed both with the same model."
        )
    return table, vectors


def _pool(table: LabelledTable, vectors: Vectors, labels: npt.NDArray[np.int64]) -> Pool:
    shown = table.frame.select([name for name in table.frame.columns if name != table.label])

    def preview(position: int) -> Preview | None:
        """The cells that stand beside the embedding; its numbers tell a reader nothing."""
        if not shown.width:
            return None
        cells = shown.row(position)
        return row_preview(
            shown.columns, [None if cell is None else as_text(cell) for cell in cells]
        )

    return Pool.from_arrays(
        vectors, labels, ids=table.ids, metadata=table.frame, preview=preview, label=table.label
    )
