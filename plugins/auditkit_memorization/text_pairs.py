"""Which evaluation texts lean on a memorized training text.

A memorized text has next to no gradient left, so what it gives to others cannot be read off the
trained model's slopes. It is read the other way round: the text is unlearned, until its own loss
has risen by what it would be without it in training (its counterfactual memorization), and each
evaluation text is read by the model that is left (Ko et al. 2024: the mirrored influence). Those
whose loss rises too lean on it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import Pool
from auditkit.errors import EngineError
from auditkit_memorization.pairs import KEPT, LEANS, asked
from auditkit_memorization.settings import Context

Values = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

MOST = 100
"""So many memorized texts are unlearned, the most memorized ones; each takes a pass."""

LEAST_RISE = 0.05
"""Nats per token by which a text is unlearned at least: less is rounding."""

SCHEMA = {
    "example_id": pl.String(),
    "query_id": pl.String(),
    "loss": pl.Float64(),
    "loss_without": pl.Float64(),
    "fall": pl.Float64(),
}


def leaning_texts(
    context: Context, memorized: Positions, saved: Values, *, most: int
) -> pl.DataFrame:
    """The evaluation texts that lean most on each memorized text, the largest fall first.

    A row is a pair. `loss` is the evaluation text's per token, in nats, `loss_without` what it is
    once the training text is unlearned, and `fall` that of the typical probability of its tokens,
    at least `LEANS`.

    Args:
        context: of the audit; its subject has queries.
        memorized: positions of the memorized texts in the train pool, the most memorized first.
        saved: float64 [memorized]; nats per token that each saves itself by being trained on.
        most: how many queries are asked, drawn at random where there are more.
    """
    queries = asked(context, most=most)
    if queries is None or len(memorized) == 0:
        return pl.DataFrame(schema=SCHEMA)
    train = context.subject.train
    losses = context.engine.evaluate(queries).loss.astype(np.float64)
    rows, failed = [], 0
    with context.progress.step("unlearning memorized texts", len(memorized[:MOST])) as step:
        for place, rise in zip(memorized[:MOST].tolist(), saved, strict=False):
            try:
                changes = _changes(context, place, queries, rise=max(float(rise), LEAST_RISE))
            except EngineError:
                failed += 1
            else:
                rows += _leaning(train.ids[place], queries, losses, changes)
            step.advance()
    _say(context, len(memorized), failed)
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return frame.sort("fall", "example_id", "query_id", descending=[True, False, False])


def _changes(context: Context, place: int, queries: Pool, *, rise: float) -> Values:
    """How much each query's loss per token changes when one training text is unlearned."""
    train = context.subject.train
    engine = context.engine.alone().configured(measure="loss", train_measure="loss", rise=rise)
    scores = engine.influence(train.subset([place]), queries)
    found: Values = scores.values[0].astype(np.float64) * float(scores.step[0]) * len(train)
    return found


def _leaning(
    name: str, queries: Pool, losses: Values, changes: Values
) -> list[tuple[str, str, float, float, float]]:
    falls = np.exp(-losses) - np.exp(-(losses + changes))
    return [
        (
            name,
            queries.ids[query],
            float(losses[query]),
            float(losses[query] + changes[query]),
            float(falls[query]),
        )
        for query in np.argsort(-falls, kind="stable")[:KEPT]
        if falls[query] >= LEANS
    ]


def _say(context: Context, count: int, failed: int) -> None:
    if count > MOST:
        context.note(
            f"Of {count:,} memorized documents, the {MOST} most memorized were asked which "
            "evaluation documents lean on them."
        )
    if failed:
        context.note(
            f"{failed:,} memorized documents could not be unlearned: what leans on them is not "
            "known.",
            level="warning",
        )
