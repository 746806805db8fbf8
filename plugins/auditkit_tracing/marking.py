"""Which stretches of a document's text became less likely: changes of tokens as marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import Pool, TextPreview
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.measuring import Scorer
from auditkit_tracing.settings import Context
from auditkit_tracing.texts import documents_of, language_task

if TYPE_CHECKING:
    from auditkit import Answers, Documents
    from auditkit.tasks.language_model import Tokenizer

Floats = npt.NDArray[np.float64]
Span = tuple[int, int]

MARKED = 10
"""Of so many proponents and opponents of each behaviour the tokens are marked."""

_FAINT = 0.2
"""Changes below this share of the largest are not marked."""

_COMPARED = 20
"""So many characters of what tokens say must be those of the text."""

SCHEMA = {
    "query_id": pl.String(),
    "example_id": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "strength": pl.Float64(),
}


def marked(context: Context, scoring: Scorer, asked: Asked, rows: pl.DataFrame) -> pl.DataFrame:
    """Marks in the texts of some findings: stretches of characters, and how strongly each changed.

    Args:
        context: of the audit.
        scoring: of which the engine reads tokens.
        asked: what was asked.
        rows: has `query_id` and `example_id`, a training example each.

    Returns:
        Columns of `SCHEMA`; `strength` is in [-1, 1], the share of the largest change in the text,
        above zero where a token became less likely.
    """
    train, empty = context.subject.train, pl.DataFrame(schema=SCHEMA)
    documents, tokenizer = documents_of(train), language_task(context).tokenizer
    if documents is None or tokenizer is None:
        context.note(
            "Tokens are not marked in the texts: that needs a pool of auditkit.Documents, and a "
            "task with its tokenizer."
        )
        return empty
    found: list[tuple[str, str, int, int, float]] = []
    groups = np.array(asked.groups)
    for group in asked.behaviours:
        ids = rows.filter(pl.col("query_id") == group)["example_id"].to_list()
        if not ids:
            continue
        places = train.positions(ids)
        queries = asked.pool.subset(np.flatnonzero(groups == group))
        changes = scoring.engine.token_changes(queries, train.subset(places))
        for id_, place, own in zip(ids, places.tolist(), changes, strict=True):
            spans = token_spans(documents, place, train, tokenizer)
            found += [(group, id_, *mark) for mark in marks(spans, own)]
    return pl.DataFrame(found, schema=SCHEMA, orient="row") if found else empty


def marks(spans: Sequence[Span | None], changes: Floats) -> list[tuple[int, int, float]]:
    """The stretches whose change is not faint: (start, end, strength), in order."""
    most = float(np.abs(changes).max()) if len(changes) else 0.0
    if most == 0 or len(spans) != len(changes):
        return []
    return [
        (*span, float(change / most))
        for span, change in zip(spans, changes, strict=True)
        if span is not None and span[1] > span[0] and abs(change) >= _FAINT * most
    ]


def token_spans(
    documents: Documents | Answers, place: int, pool: Pool, tokenizer: Tokenizer
) -> list[Span | None]:
    """Where each counted token stands in the text the report shows; None where it cannot be said.

    In characters of the preview's text. Of a model's answer, the text is what follows the input.
    """
    preview = pool.preview(place)
    if not isinstance(preview, TextPreview):
        return []
    if hasattr(documents, "answers"):
        tokens = documents.answers[place].tolist()
        starts = [number + 1 for number, sign in enumerate(preview.text) if sign == "\n"]
    else:
        tokens, starts = documents.tokens[place].tolist(), [0]
    for first in starts:
        spans = spans_of(preview.text[first:], tokens, tokenizer)
        if any(span is not None for span in spans):
            counted = (spans[number] for number in documents.counted(place))
            return [span and (span[0] + first, span[1] + first) for span in counted]
    return []


def spans_of(text: str, tokens: Sequence[int], tokenizer: Tokenizer) -> list[Span | None]:
    """Where each token stands in a text, in characters.

    A fast tokenizer of Hugging Face says so itself. Of others, the text of the first tokens is
    compared with the text, one token more each time.
    """
    told = _offsets(text, tokens, tokenizer)
    if told is not None:
        return list(told)
    skipped = next(
        (
            number
            for number in range(min(3, len(tokens)))
            if _begins(text, tokens[number:], tokenizer)
        ),
        None,
    )
    if skipped is None:
        return [None] * len(tokens)
    found: list[Span | None] = [None] * skipped
    before = 0
    for number in range(skipped, len(tokens)):
        decoded = tokenizer.decode(tokens[skipped : number + 1])
        after = max(before, len(_shared(decoded, text)))
        found.append((before, after))
        before = after
    return found


def _shared(one: str, other: str) -> str:
    """What two texts begin with alike."""
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if same is None else same]


def _begins(text: str, tokens: Sequence[int], tokenizer: Tokenizer) -> bool:
    decoded = tokenizer.decode(tokens)
    compared = min(len(decoded), len(text), _COMPARED)
    return compared > 0 and decoded[:compared] == text[:compared]


def _offsets(text: str, tokens: Sequence[int], tokenizer: Tokenizer) -> list[Span] | None:
    """What a fast tokenizer says, where it gives these very tokens."""
    if not (callable(tokenizer) and getattr(tokenizer, "is_fast", False)):
        return None
    told = tokenizer(text, return_offsets_mapping=True)
    if list(told["input_ids"]) != list(tokens):
        return None
    return [(int(start), int(end)) for start, end in told["offset_mapping"]]
