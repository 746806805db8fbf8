"""What search finds for the same behaviours: BM25 on words, and likeness to the model's eye.

Retrieval finds what says a thing; influence finds what made the model say it. A report shows both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from auditkit import Pool, TextPreview
from auditkit.errors import TaskError
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.measuring import Examples
from auditkit_tracing.settings import Context

Floats = npt.NDArray[np.float64]

BM25, EMBEDDING = "BM25", "embedding similarity"

_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0002ffff]|[^\\W_]+"
)
"""A word; or one sign of a script that writes without spaces."""


def retrieved(context: Context, asked: Asked, whole: Examples) -> Mapping[str, Floats]:
    """How well each training example matches each behaviour, [behaviour, example], by method.

    A method that cannot be used is left out, and a note says why.
    """
    found: dict[str, Floats] = {}
    by_words = _by_words(context, asked, whole)
    if by_words is not None:
        found[BM25] = by_words
    try:
        found[EMBEDDING] = _by_features(context, asked, whole)
    except TaskError as error:
        context.note(f"Embedding similarity was left out: {error}")
    return found


def bm25(texts: Sequence[str], queries: Sequence[str]) -> Floats:
    """BM25 of each text for each query, [query, text] (Robertson and Zaragoza 2009; bm25s).

    Raises:
        ImportError: bm25s is not installed.
    """
    import bm25s  # noqa: PLC0415 - an extra

    index = bm25s.BM25()
    index.index([words_of(text) or [""] for text in texts], show_progress=False)
    found = np.zeros((len(queries), len(texts)))
    for row, words in enumerate(map(words_of, queries)):
        if words:  # bm25s refuses a query without any
            found[row] = index.get_scores(words)
    return found


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def _by_words(context: Context, asked: Asked, whole: Examples) -> Floats | None:
    texts, queries = _texts(context.subject.train, whole), _asked_texts(asked)
    if texts is None or queries is None:
        return None
    try:
        return bm25(texts, queries)
    except ImportError:
        context.note(
            "BM25 was left out, since bm25s is not installed: pip install "
            "'auditkit-influence[text]'.",
            level="warning",
        )
        return None


def _texts(train: Pool, whole: Examples) -> list[str] | None:
    """The text of each whole example; None where examples are no texts."""
    if not isinstance(train.preview(0), TextPreview):
        return None
    parts: list[list[str]] = [[] for _ in range(len(whole))]
    for place, own in enumerate(whole.of.tolist()):
        preview = train.preview(place)
        parts[own].append(preview.text if isinstance(preview, TextPreview) else "")
    return ["".join(own) for own in parts]


def _asked_texts(asked: Asked) -> list[str] | None:
    """The text of each behaviour; None where one is no text."""
    found = []
    for own in asked.behaviours.values():
        texts = [(query.prompt or "") + (query.completion or "") for query in own]
        if not all(texts):
            return None
        found.append("\n".join(texts))
    return found


def _by_features(context: Context, asked: Asked, whole: Examples) -> Floats:
    """Cosines of what goes into the model's last layer, the highest of each whole's windows."""
    ours = _unit(context.engine.features())
    theirs = _unit(context.engine.features(asked.pool))
    places = {name: row for row, name in enumerate(asked.behaviours)}
    rows = np.array([places[group] for group in asked.groups])
    means = np.zeros((len(places), theirs.shape[1]))
    np.add.at(means, rows, theirs)
    cosines = _unit(means) @ ours.T
    found = np.full((len(places), len(whole)), -np.inf)
    for row in range(len(places)):
        np.maximum.at(found[row], whole.of, cosines[row])
    return found


def _unit(features: npt.NDArray[np.floating]) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: Floats = (features / np.maximum(lengths, 1e-12)).astype(np.float64)
    return found


def ranks(values: Floats) -> npt.NDArray[np.int64]:
    """The place of each example in its row, 1 for the highest; of ties the first comes first."""
    order = np.argsort(-values, axis=1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(1, values.shape[1] + 1)[None], axis=1)
    return found
