"""Data alone, for audits that can do without a model: images, rows or texts, labelled or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from auditkit.errors import (
    ColumnError,
    PoolError,
    SettingError,
    SubjectReferenceError,
    UnreadableError,
    did_you_mean,
)
from auditkit.pool import Pool
from auditkit.preview import ImagePreview, Preview, TextPreview, row_preview
from auditkit.progress import SILENT, Progress
from auditkit.sources.columns import Columns, choose
from auditkit.sources.decoding import Decoded, Pixels, decode
from auditkit.sources.features import cast_column, dtypes_of, plain
from auditkit.sources.folders import list_images
from auditkit.sources.frames import TABLE_SUFFIXES, as_text, column, read_frame, row_ids
from auditkit.sources.labels import label_names
from auditkit.subject import Subject

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions

TEXT_SUFFIX = ".txt"


def load_plain(path: Path, options: SourceOptions, *, progress: Progress = SILENT) -> Subject:
    """A subject without a task: a folder of images, a table, or a text file of documents.

    Folders may be flat or hold class folders, `options.label` may name a column of labels, and a
    text file holds one document a line. The second path, if there is one, is of the same kind.

    Raises:
        SubjectReferenceError: a path of another kind than these, or than the first one.
        SettingError: an option that does not fit the kind.
        ColumnError: a column that does not exist or cannot be the labels.
        PoolError: no examples, or ids that are missing or not unique.
        UnreadableError: a file cannot be read.
    """
    if path.is_dir():
        return _images(path, options, progress)
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return _tables(path, options)
    if suffix == TEXT_SUFFIX:
        return _texts(path, options)
    raise SubjectReferenceError(
        f"{path.name} has the extension {suffix or '(none)'!r}: without a model, expected a folder "
        f"of images, a table ({', '.join(TABLE_SUFFIXES)}) or a text file ({TEXT_SUFFIX})."
    )


class ImageBytes:
    """Pixels as they are read, uint8 [image, height, width] or [image, height, width, 3]."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, position: int) -> Pixels:
        image: Pixels = self.pixels[position]
        return image

    def preview(self, position: int) -> ImagePreview:
        """The image at its common size."""
        return ImagePreview(self.pixels[position])


class Cells:
    """Rows of a frame, each a mapping from column names to texts."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, position: int) -> Mapping[str, str | None]:
        return {
            name: None if cell is None else as_text(cell)
            for name, cell in self._frame.row(position, named=True).items()
        }


def _images(root: Path, options: SourceOptions, progress: Progress) -> Subject:
    refused = [name for name in ("label", "id", "text", "drop") if getattr(options, name)]
    if refused:
        raise SettingError(
            f"--{refused[0]} was given, and {root} is a folder of images, whose ids are paths: "
            "leave the option out."
        )
    listing = list_images(root, flat=True)
    decoded = decode(listing.images, progress=progress)
    sentences = [f"{len(decoded.files):,} images from {root.resolve().name}.", *decoded.sentences]
    queries = None
    if options.evaluation is not None:
        if not options.evaluation.is_dir():
            raise _of_another_kind(options.evaluation, "a folder of images")
        second = list_images(options.evaluation, flat=True).images
        others = decode(second, like=decoded.pixels, progress=progress)
        queries = _image_pool(others)
        name = options.evaluation.resolve().name
        sentences.append(f"{len(queries):,} images from {name} are the queries.")
        sentences += others.changes
    return Subject(
        train=_image_pool(decoded),
        queries=queries,
        name=root.resolve().name,
        description=(*sentences, *listing.sentences),
    )


def _image_pool(decoded: Decoded) -> Pool:
    dataset, ids = ImageBytes(decoded.pixels), [file.id for file in decoded.files]
    labels = [file.label or None for file in decoded.files]
    labelled = any(label is not None for label in labels)
    frame = pl.DataFrame({"id": ids, **({"label": labels} if labelled else {})})
    return Pool(
        dataset,
        ids=ids,
        metadata=frame,
        preview=dataset.preview,
        label="label" if labelled else None,
    )


def _tables(path: Path, options: SourceOptions) -> Subject:
    frame = _frame(path, options)
    second = None if options.evaluation is None else _second(options.evaluation, options)
    _check_dropped(options, path, frame, second)
    apart = [name for name in (options.label, options.id) if name is not None]
    for name in apart:
        column(frame, name, table=path.name, role="labels" if name == options.label else "ids")
    features = frame.drop(apart)
    columns = choose(
        features,
        dtypes=dtypes_of(features),
        apart=(),
        drop=[name for name in options.drop if name in features.columns],
        text=options.text,
    )
    if not columns.features:
        raise SettingError(
            f"No column of {path.name} is left to compare: name a text column with --text, or give "
            "a table with more columns than ids and constants."
        )
    sentences = [f"{frame.height:,} rows of {path.name}.", *columns.sentences]
    queries = None
    if options.evaluation is not None and second is not None:
        other = options.evaluation
        queries = _table_pool(_matched(second, frame, columns, other), options, columns, other)
        sentences.append(f"{len(queries):,} rows of {other.name} are the queries.")
        unknown = [name for name in second.columns if name not in {*frame.columns, *options.drop}]
        if unknown:
            sentences.append(f"Not compared, since {path.name} has none: {', '.join(unknown)}.")
        if options.label is not None and queries.label is None:
            sentences.append(f"{other.name} has no column {options.label!r}: it has no labels.")
    return Subject(
        train=_table_pool(frame, options, columns, path, labelled=True),
        queries=queries,
        name=path.name,
        description=sentences,
    )


def _frame(path: Path, options: SourceOptions) -> pl.DataFrame:
    """The rows with few types; the column of free text that options name is there."""
    frame = read_frame(path, verbatim=[options.id])
    if options.text is not None:
        column(frame, options.text, table=path.name, role="free text")
    rest = plain(frame.drop([] if options.id is None else [options.id], strict=False))
    return frame.with_columns(rest.iter_columns())


def _second(path: Path, options: SourceOptions) -> pl.DataFrame:
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        raise _of_another_kind(path, f"a table ({', '.join(TABLE_SUFFIXES)})")
    return _frame(path, options)


def _check_dropped(
    options: SourceOptions, path: Path, first: pl.DataFrame, second: pl.DataFrame | None
) -> None:
    """Refuse to drop a column that neither table has."""
    known = [*first.columns, *(() if second is None else second.columns)]
    for name in options.drop:
        if name not in known:
            raise ColumnError(
                f"{path.name}{'' if second is None else ' and the second table'} has no column "
                f"{name!r} for --drop: {did_you_mean(name, known)}"
            )


def _matched(
    frame: pl.DataFrame, first: pl.DataFrame, columns: Columns, path: Path
) -> pl.DataFrame:
    """The rows with the compared columns of the types they have in the first table."""
    cast = [
        cast_column(
            _compared(frame, name, path),
            first.schema[name],
            path.name,
        )
        for name in columns.features
    ]
    return frame.with_columns(cast)


def _compared(frame: pl.DataFrame, name: str, path: Path) -> pl.Series:
    if name not in frame.columns:
        raise ColumnError(
            f"{path.name} has no column {name!r} for comparison with the first table: "
            f"{did_you_mean(name, frame.columns).rstrip('?.')}; or name it with --drop, or with "
            "--label if it holds the labels."
        )
    return frame.get_column(name)


def _table_pool(
    frame: pl.DataFrame,
    options: SourceOptions,
    columns: Columns,
    path: Path,
    *,
    labelled: bool = False,
) -> Pool:
    ids = row_ids(frame, options.id, table=path.name)
    label = options.label if labelled or options.label in frame.columns else None
    if label is not None:
        labels = column(frame, label, table=path.name, role="labels")
        names = label_names(labels, where=f"The label column {label!r} of {path.name}")
        frame = frame.with_columns(names.alias(label))
    shown = [name for name in frame.columns if name != label]
    text = columns.texts[0] if len(columns.texts) == 1 else None

    def preview(position: int) -> Preview:
        if text is not None:
            cell = frame[text][position]
            return TextPreview("" if cell is None else as_text(cell))
        cells = frame.select(shown).row(position)
        return row_preview(shown, [None if cell is None else as_text(cell) for cell in cells])

    return Pool(
        Cells(frame.select(columns.features)),
        ids=ids,
        metadata=frame,
        preview=preview,
        label=label,
        contents=columns.features if text is None else (text,),
    )


def _texts(path: Path, options: SourceOptions) -> Subject:
    refused = [name for name in ("label", "id", "text", "drop") if getattr(options, name)]
    if refused:
        raise SettingError(
            f"--{refused[0]} was given, and {path.name} has no columns, one document a line: leave "
            "the option out."
        )
    train, sentences = _text_pool(path)
    queries = None
    if options.evaluation is not None:
        if options.evaluation.suffix.lower() != TEXT_SUFFIX or not options.evaluation.is_file():
            raise _of_another_kind(options.evaluation, f"a text file ({TEXT_SUFFIX})")
        queries, more = _text_pool(options.evaluation)
        sentences += [f"The texts of {options.evaluation.name} are the queries.", *more]
    return Subject(train=train, queries=queries, name=path.name, description=sentences)


def _text_pool(path: Path) -> tuple[Pool, list[str]]:
    """The lines of a file that are not empty; ids are their numbers, from 0."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        raise UnreadableError(f"{path.name} cannot be read as UTF-8 text: {error}.") from error
    kept = [(number, line.rstrip("\r")) for number, line in enumerate(lines) if line.strip()]
    if not kept:
        raise PoolError(f"{path.name} holds no text: expected one document a line.")
    texts, ids = [text for _, text in kept], [str(number) for number, _ in kept]
    empty = len(lines) - len(kept) - (not lines[-1].strip())
    sentences = [f"{len(texts):,} texts of {path.name}, one a line."]
    sentences += [f"Left out: {empty:,} empty lines of {path.name}."] if empty else []
    pool = Pool(
        texts, ids=ids, metadata=pl.DataFrame({"line": ids, "text": texts}), contents=("text",)
    )
    return pool, sentences


def _of_another_kind(path: Path, expected: str) -> SubjectReferenceError:
    return SubjectReferenceError(f"{path} is not {expected}, as the first path is: give one.")
