"""Language models from a local folder, with the texts they were trained on in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import ColumnError, PoolError, SettingError
from auditkit.pool import Pool
from auditkit.preview import TextPreview
from auditkit.sources.frames import as_text, column, read_frame, row_ids
from auditkit.sources.kept import checkpoints_in_words, checkpoints_of, fitting
from auditkit.sources.pretrained import Loaded, load_model, load_weights, padding
from auditkit.subject import Recipe, Subject
from auditkit.tasks.documents import Answers, Documents
from auditkit.tasks.language_model import LanguageModelTask

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

    from auditkit.hookspecs import SourceOptions


def load_language(path: Path, options: SourceOptions) -> Subject:
    """A subject of a table of texts and the model in `options.model_folder` trained on them.

    The texts of `options.evaluation`, a table too, are the queries. Texts longer than a causal
    model's context are cut into windows, each an example of its own. A model that answers what it
    is given is trained on `options.text`, and `options.label` names the column of its answers.

    Raises:
        SettingError: no text column was named, or none of answers where the model answers.
        ColumnError: no such column, or one without any text.
        PoolError: no text of two tokens or more.
        UnreadableError: the folder holds no model that can be loaded safely.
        LabelError: the tokenizer knows more tokens than the model.
        TaskError: the base model or a checkpoint is of another shape.
        UsageError: transformers is not installed.
    """
    if options.model_folder is None or options.text is None:
        raise SettingError(
            f"Which column of {path.name} holds the texts the model was trained on? Name it with "
            "--text COLUMN, and the model's folder with --model DIR."
        )
    table = _read_texts(path, options)
    second = None if options.evaluation is None else _read_texts(options.evaluation, options)
    loaded, folder = load_model(options.model_folder), options.model_folder.resolve()
    _check_label(options, loaded, path=path, folder=folder)
    train, sentences = _pool(table, loaded)
    queries, asked = (None, []) if second is None else _queries(second, loaded)
    base, from_base = _base(options.base, loaded)
    kept = checkpoints_of(options.checkpoints, loaded.model.state_dict(), load_weights)
    return Subject(
        task=LanguageModelTask(
            loaded.model, form=loaded.form, tokenizer=loaded.tokenizer, context=loaded.context
        ),
        train=train,
        queries=queries,
        checkpoints=kept,
        recipe=Recipe(batch_size=16, epochs=1),
        fresh=loaded.fresh,
        pretrained=base,
        name=f"{folder.name} on {path.name}",
        description=(
            f"{len(table.texts):,} texts ({options.text}) from {path.name}, on which {folder.name} "
            "was trained.",
            *sentences,
            *(["Of the model, only its adapter moves."] if loaded.adapted else []),
            *from_base,
            *checkpoints_in_words(options.checkpoints),
            *asked,
        ),
    )


@dataclass(frozen=True)
class Texts:
    """The rows of a table that hold text.

    Attributes:
        name: that of the table.
        text: the column of texts.
        texts: the text of each row.
        answers: the answer of each; None where no column of answers was named.
        ids: the id of each.
        frame: the rows as they are.
        label: the column of answers.
        sentences: what was left out, in words.
    """

    name: str
    text: str
    texts: list[str]
    answers: list[str] | None
    ids: list[str]
    frame: pl.DataFrame
    label: str | None
    sentences: list[str]


def _read_texts(path: Path, options: SourceOptions) -> Texts:
    """The rows whose texts, and answers if they are asked for, are not empty."""
    frame, named = read_frame(path, verbatim=[options.id]), options.text or ""
    names = [named] if options.label is None else [named, options.label]
    cells = [
        column(frame, name, table=path.name, role=role).to_list()
        for name, role in zip(names, ("texts", "answers"), strict=False)
    ]
    ids = row_ids(frame, options.id, table=path.name)
    written = [["" if cell is None else as_text(cell) for cell in own] for own in cells]
    kept = [
        place for place, row in enumerate(zip(*written, strict=True)) if all(map(str.strip, row))
    ]
    if not kept:
        raise ColumnError(
            f"The column {' or '.join(map(repr, names))} of {path.name} holds no text."
        )
    chosen = [[own[place] for place in kept] for own in written]
    left = frame.height - len(kept)
    return Texts(
        name=path.name,
        text=named,
        texts=chosen[0],
        answers=chosen[1] if len(chosen) > 1 else None,
        ids=[ids[place] for place in kept],
        frame=frame[kept],
        label=options.label,
        sentences=[f"Left out: {left:,} rows of {path.name} without text."] if left else [],
    )


def _check_label(options: SourceOptions, loaded: Loaded, *, path: Path, folder: Path) -> None:
    """Answers are named for models that answer, and for no others."""
    if loaded.form == "seq2seq" and options.label is None:
        raise SettingError(
            f"The model in {folder.name} answers what it is given: name the column of {path.name} "
            "that holds the answers with --label COLUMN."
        )
    if loaded.form == "causal" and options.label is not None:
        raise SettingError(
            f"--label was given ({options.label}), and the model in {folder.name} continues what "
            "it reads: it is trained on the texts alone, so leave it out."
        )


def _queries(table: Texts, loaded: Loaded) -> tuple[Pool, list[str]]:
    """The examples that are asked about, and how many, in words."""
    pool, sentences = _pool(table, loaded)
    return pool, [f"{len(pool):,} documents from {table.name} are the queries.", *sentences]


def _pool(table: Texts, loaded: Loaded) -> tuple[Pool, list[str]]:
    """Examples of the form the model takes, and what of the table was cut or left out, in words."""
    pool, cut = (_answers if loaded.form == "seq2seq" else _continued)(table, loaded)
    return pool, [*cut, *table.sentences]


def _continued(table: Texts, loaded: Loaded) -> tuple[Pool, list[str]]:
    """Texts in windows, each an example, and what was cut, in words."""
    rows = windows(table.texts, loaded)
    used = len({row.place for row in rows})
    if not used:
        raise PoolError(
            f"The texts of {table.name} are of one token each at most: expected texts of two and "
            "more, one to predict from the other."
        )
    train = Pool(
        Documents(
            [row.tokens for row in rows],
            pad=padding(loaded.tokenizer),
            wholes=[table.ids[row.place] for row in rows],
        ),
        ids=[_window_id(table.ids[row.place], row) for row in rows],
        metadata=table.frame[[row.place for row in rows]],
        preview=lambda position: TextPreview(rows[position].text),
        contents=(table.text,),
    )
    said, short = [], len(table.texts) - used
    if len(rows) > used:
        said.append(
            f"Texts of {table.name} longer than the model's {loaded.context:,} tokens are cut: "
            f"{len(rows):,} windows."
        )
    if short:
        said.append(f"Left out: {short:,} rows of {table.name} with a text of one token at most.")
    return train, said


def _answers(table: Texts, loaded: Loaded) -> tuple[Pool, list[str]]:
    """Texts and their answers, each cut at the model's context, and how many, in words."""
    texts, answers = table.texts, table.answers or []
    tokens, labels = ([loaded.tokenizer.encode(text) for text in own] for own in (texts, answers))
    most = loaded.context
    long = sum(max(map(len, pair)) > most for pair in zip(tokens, labels, strict=True))
    train = Pool(
        Answers(
            [own[:most] for own in tokens],
            [own[:most] for own in labels],
            pad=padding(loaded.tokenizer),
        ),
        ids=table.ids,
        metadata=table.frame,
        preview=lambda position: TextPreview(f"{texts[position]}\n{answers[position]}"),
        contents=(table.text, *(() if table.label is None else (table.label,))),
    )
    said = f"{long:,} texts or answers of {table.name} are cut at the model's {most:,} tokens."
    return train, [said] if long else []


def _base(folder: Path | None, loaded: Loaded) -> tuple[dict[str, Tensor] | None, list[str]]:
    """The weights that training began from, and that it did, in words."""
    if folder is None:
        return None, []
    if loaded.adapted:
        raise SettingError(
            f"--base {folder} was given, and the model is an adapter, which names its base itself: "
            "leave it out."
        )
    weights, own = load_weights(folder), loaded.model.state_dict()
    return (
        fitting(weights, own, folder=folder, what="base model"),
        [f"Its training began from {folder.resolve().name}."],
    )


@dataclass(frozen=True)
class Window:
    """A part of a text that fits into the model's context.

    Attributes:
        place: which text.
        number: which part, from 0.
        of: how many parts.
        tokens: its token ids.
        text: its text.
    """

    place: int
    number: int
    of: int
    tokens: list[int]
    text: str


def windows(texts: Sequence[str], loaded: Loaded) -> list[Window]:
    """Each text as token ids, in parts that fit into the model's context.

    A text of fewer than two tokens has none: there is nothing to predict.
    """
    found = []
    for place, text in enumerate(texts):
        tokens = loaded.tokenizer.encode(text)
        starts = range(0, max(len(tokens) - 1, 1), loaded.context)
        parts = [tokens[start : start + loaded.context] for start in starts]
        parts = [part for part in parts if len(part) > 1]
        found += [
            Window(
                place, number, len(parts), part,
                text if len(parts) == 1 else loaded.tokenizer.decode(part),
            )
            for number, part in enumerate(parts)
        ]  # fmt: skip
    return found


def _window_id(own: str, row: Window) -> str:
    return own if row.of == 1 else f"{own}#{row.number}"
