"""Which evaluation examples lean on a memorized training example.

Feldman and Zhang (2020, section 3) look for pairs of a memorized training example and a test
example whose prediction it carries: there memorizing pays. They count models with and without the
training example; here influence predicts what leaving it out does to the evaluation example.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit, logsumexp

from auditkit import Engine, Pool
from auditkit_memorization.settings import Context

Values = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

LEANS = 0.05
"""How far the label's probability must be expected to fall for a query to lean on an example."""

KEPT = 5
"""How many queries are kept of each memorized example."""

_HELD = 2**26
"""How many scores are held at a time."""

_FINITE = 7
"""More queries than this are cheaper by products of gradients (docs/explanation/cost.md)."""

SCHEMA = {
    "example_id": pl.String(),
    "query_id": pl.String(),
    "influence": pl.Float64(),
    "label_probability": pl.Float64(),
    "label_probability_without": pl.Float64(),
    "fall": pl.Float64(),
}


def leaning(context: Context, memorized: Positions, *, most: int) -> pl.DataFrame:
    """The evaluation examples that lean most on each memorized example, the largest fall first.

    A row is a pair. `influence` is the predicted fall of the query's margin, in nats, if the
    training example were left out; `fall` is that of its label's probability, at least `LEANS`.

    Args:
        context: of the audit; its subject has queries.
        memorized: positions of the memorized examples in the train pool.
        most: how many queries are asked, drawn at random where there are more.
    """
    queries = asked(context, most=most)
    if queries is None or len(memorized) == 0:
        return pl.DataFrame(schema=SCHEMA)
    train, engine = context.subject.train, _engine(context, len(queries))
    margins, block = _margins(context.engine, queries), max(1, _HELD // len(train))
    falls, influences = [], []
    for start in range(0, len(queries), block):
        places = np.arange(start, min(start + block, len(queries)))
        scores = engine.influence(queries.subset(places)).values[:, memorized].astype(np.float64)
        falls.append(_fall(margins[places], scores))
        influences.append(scores)
    return _pairs(
        train.subset(memorized), queries, margins, np.vstack(influences), np.vstack(falls)
    )


def asked(context: Context, *, most: int) -> Pool | None:
    """The queries that are asked, at most so many; None where there are none."""
    queries = context.subject.queries
    if queries is None or most == 0:
        return None
    if len(queries) <= most:
        return queries
    random = np.random.default_rng([context.seed % 2**64, 0x1EA2])
    return queries.subset(np.sort(random.permutation(len(queries))[:most]))


def _engine(context: Context, queries: int) -> Engine:
    """The engine, asked for margins, and pulls as models have them that did not see the example.

    A memorized example has next to no pull on the trained model, which knows it already.
    """
    held = context.task.measure_name == "margin"
    return context.engine.configured(
        pull="held-out" if held else "trained",
        response="finite" if queries <= _FINITE else "first-order",
    )


def _margins(engine: Engine, queries: Pool) -> Values:
    """The log odds of each query's label under the trained model, [query]."""
    said = engine.evaluate(queries)
    if said.outputs is None or said.targets is None:
        raise ValueError("A task with categorical outputs gives outputs and targets.")
    scores, rows = said.outputs.astype(np.float64), np.arange(len(queries))
    own = scores[rows, said.targets].copy()
    scores[rows, said.targets] = -np.inf
    margins: Values = own - logsumexp(scores, axis=1)
    return margins


def _fall(margins: Values, scores: Values) -> Values:
    """How far each label's probability would fall, [query, example]."""
    falls: Values = expit(margins)[:, None] - expit(margins[:, None] - scores)
    return falls


def _pairs(
    examples: Pool, queries: Pool, margins: Values, influences: Values, falls: Values
) -> pl.DataFrame:
    """The strongest pairs of each example as rows."""
    order = np.argsort(-falls, axis=0, kind="stable")[:KEPT]
    rows = [
        (
            examples.ids[example],
            queries.ids[query],
            float(influences[query, example]),
            float(expit(margins[query])),
            float(expit(margins[query]) - falls[query, example]),
            float(falls[query, example]),
        )
        for example in range(len(examples))
        for query in order[:, example]
        if falls[query, example] >= LEANS
    ]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return frame.sort("fall", "example_id", "query_id", descending=[True, False, False])
