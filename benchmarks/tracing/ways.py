"""Ways of ranking training documents for a query: Forward-INF and what it is compared with.

Each gives scores float32 [query, document]; higher is more of a proponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auditkit import DocumentScores, ForwardINF, LanguageModelTask, Pool
from benchmarks.tracing.corpus import Corpus, Query
from benchmarks.tracing.model import EARLIER, RECIPE, documents_of, query_pool

Table = npt.NDArray[np.float32]

BLOCKS = "transformer.h.*"
"""All weights but those of the embeddings and of the head."""
MLPS = "transformer.h.*.mlp.*"
CANDIDATES = 100
"""Of how many documents at either end a checkpoint is asked, as in `auditkit tracing`."""


@dataclass(frozen=True, eq=False)
class Case:
    """What is scored: the documents of a seed, and the model trained on them.

    Attributes:
        corpus: documents and queries.
        task: the trained model.
        train: the documents as the model reads them.
        earlier: gives the model as it was after `EARLIER` epochs of its training.
    """

    corpus: Corpus
    task: LanguageModelTask
    train: Pool
    earlier: Callable[[], LanguageModelTask]

    def queries(self, asked: Sequence[Query]) -> Pool:
        """Queries as the model reads them."""
        return query_pool(asked, self.task.tokenizer)


@dataclass(frozen=True)
class Way:
    """A way of ranking.

    Attributes:
        name: for tables.
        queries: how many of a seed's queries it is asked: fewer where it is beside the point.
        score: the scores.
        block: how many queries are scored before they are stored.
    """

    name: str
    queries: int
    score: Callable[[Case, Sequence[Query]], Table]
    block: int = 20


def bm25(case: Case, queries: Sequence[Query]) -> Table:
    """Lucene's BM25 on words in lower case; the query is the prompt with its answer."""
    import bm25s

    index = bm25s.BM25()
    index.index([_words(own.text) for own in case.corpus.documents], show_progress=False)
    return np.stack([index.get_scores(_words(own.text)) for own in queries]).astype(np.float32)


def hidden_cosine(case: Case, queries: Sequence[Query]) -> Table:
    """Cosine of the last layer's states, averaged over tokens, of query and document."""
    pools = case.queries(queries), case.train
    own, others = (torch.nn.functional.normalize(_states(case, pool), dim=1) for pool in pools)
    return (own @ others.T).numpy()


@dataclass(frozen=True)
class Engine:
    """Forward-INF by some of its settings; the others are its defaults."""

    preconditioner: Literal["none", "ekfac"] = "ekfac"
    train_measure: Literal["loss", "tokens"] = "loss"
    response: Literal["finite", "products"] = "finite"
    parameters: str = BLOCKS
    rise: float = 3.0
    relative: bool = False
    model: Literal["trained", "earlier", "both"] = "trained"

    def __call__(self, case: Case, queries: Sequence[Query]) -> Table:
        """The scores of the queries."""
        return made(self, case).influence(case.queries(queries)).values


@cache
def made(own: Engine, case: Case) -> ForwardINF:
    """The engine on the documents, whose curvature and base pass serve all queries."""
    return ForwardINF(
        case.earlier() if own.model == "earlier" else case.task,
        checkpoints=[case.earlier().model.state_dict()] if own.model == "both" else (),
        train=case.train, recipe=RECIPE, preconditioner=own.preconditioner,
        train_measure=own.train_measure, response=own.response,
        parameters=own.parameters, rise=own.rise, relative=own.relative,
    )  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """Forward-INF by what tokens, the document's loss, or both together tell, from one pass."""

    engine: Engine
    by: Literal["together", "tokens", "loss"]

    def __call__(self, case: Case, queries: Sequence[Query]) -> Table:
        """The scores of the queries."""
        found = _readings(self.engine, case, tuple(queries))
        if self.by == "together":
            return found.together.values
        return found.tokens.values if self.by == "tokens" else found.loss.values


@lru_cache(maxsize=16)
def _readings(own: Engine, case: Case, queries: tuple[Query, ...]) -> DocumentScores:
    return made(own, case).documents(case.queries(queries), candidates=CANDIDATES)


ALL, SOME = 100, 20
BEST = Engine(train_measure="tokens")
FAR, EARLY, BOTH = (
    replace(BEST, rise=10), replace(BEST, model="earlier"), replace(BEST, model="both")
)  # fmt: skip
DEFAULT = Way("Forward-INF, EK-FAC, +3 nats, tokens and loss", ALL, Reading(BEST, "together"))
CHECKPOINT = Way(f"Forward-INF on the model of {EARLIER} epochs", ALL, Reading(EARLY, "together"))
TWO = Way(f"Forward-INF, with the checkpoint of {EARLIER} epochs", ALL, Reading(BOTH, "together"))
BM25 = Way("BM25", ALL, bm25)

WAYS = (
    BM25,
    DEFAULT,
    Way("Forward-INF, EK-FAC, +3 nats, tokens", ALL, Reading(BEST, "tokens")),
    CHECKPOINT,
    TWO,
    Way("hidden-state cosine", ALL, hidden_cosine),
    Way("gradient product (TracIn)", ALL, Engine(preconditioner="none", response="products"), ALL),
    Way(
        "gradient cosine",
        ALL,
        Engine(preconditioner="none", response="products", relative=True),
        ALL,
    ),
    Way("EK-FAC product (influence function)", ALL, Engine(response="products"), ALL),
    Way("Forward-INF, EK-FAC, +3 nats, loss", SOME, Reading(BEST, "loss")),
    Way("Forward-INF, EK-FAC, +10 nats, loss", SOME, Reading(FAR, "loss")),
    Way("Forward-INF, EK-FAC, +10 nats, tokens", SOME, Reading(FAR, "tokens")),
    Way(
        "Forward-INF, EK-FAC, MLPs only, +3 nats, tokens",
        SOME,
        Engine(parameters=MLPS, train_measure="tokens"),
    ),
    Way(
        "Forward-INF, SGD, +3 nats, tokens",
        SOME,
        Engine(preconditioner="none", train_measure="tokens"),
    ),
)


def _words(text: str) -> list[str]:
    return text.lower().split()


def _states(case: Case, pool: Pool) -> Tensor:
    """The last layer's states averaged over a text's tokens, float32 [text, width]."""
    data, found = documents_of(pool), []
    with torch.no_grad():
        for place in range(0, len(pool), 256):
            where = np.arange(place, min(place + 256, len(pool)))
            tokens = torch.from_numpy(data.rows(where)[0])
            counted = (tokens != data.pad)[:, :, None]
            states = case.task.model.transformer(tokens).last_hidden_state
            found.append((states * counted).sum(dim=1) / counted.sum(dim=1))
    return torch.cat(found)
