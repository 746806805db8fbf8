"""The tables of a run: findings that are kept, what was asked, and how the scores are spread."""

from __future__ import annotations

import numpy as np
import polars as pl

from auditkit_tracing.retrieval import BM25, EMBEDDING, ranks
from auditkit_tracing.traced import Traced, flags

PROPONENT, OPPONENT = "proponent", "opponent"

OVERLAP = 10
"""Among so many first ones of each, the overlap of influence and retrieval is counted."""

_BINS = 40

_RANKS = {BM25: "bm25_rank", EMBEDDING: "embedding_rank"}


def rows(traced: Traced) -> pl.DataFrame:
    """The findings that are kept: proponents and opponents of each behaviour, a row each."""
    made: list[dict[str, object]] = []
    found, keep = traced.found, traced.context.settings.keep
    opponent = (found.change < 0) & (found.fall < 0) & ~found.itself
    places = {name: ranks(values) for name, values in traced.retrieved.items()}
    for row, group in enumerate(traced.asked.behaviours):
        for role, possible, strength, standing, window in (
            (PROPONENT, found.proponent, found.score, traced.judged.score, found.window),
            (OPPONENT, opponent, -found.change, traced.judged.change, found.against),
        ):
            eligible = np.flatnonzero(possible[row])
            order_ = eligible[np.argsort(-strength[row, eligible], kind="stable")][:keep]
            taken = {one["whole"] for one in made if one["query_id"] == group}
            best = [own for own in order_.tolist() if own not in taken]
            for place, own in enumerate(best, start=1):
                likely = standing.probability
                made.append(
                    {
                        "whole": own,
                        "example_id": traced.context.subject.train.ids[int(window[row, own])],
                        "score": float(standing.units[row, own]),
                        "probability": None if likely is None else float(likely[row, own]),
                        "query_id": group,
                        "role": role,
                        "place": place,
                        "influence": float(found.influence[row, own]),
                        "loss_change": float(found.change[row, own]),
                        **{_RANKS[name]: int(rank[row, own]) for name, rank in places.items()},
                        **({} if traced.values is None else {"group": traced.values[own]}),
                        **(
                            {"document_id": traced.whole.ids[own]}
                            if traced.whole.in_windows
                            else {}
                        ),
                    }
                )
    return pl.DataFrame(made, schema=_schema(traced), infer_schema_length=None)


def _schema(traced: Traced) -> dict[str, pl.DataType]:
    """The columns of what is kept; the first four are not the audit's own."""
    return {
        "whole": pl.Int64(),
        "example_id": pl.String(),
        "score": pl.Float64(),
        "probability": pl.Float64(),
        "query_id": pl.String(),
        "role": pl.String(),
        "place": pl.Int64(),
        "influence": pl.Float64(),
        "loss_change": pl.Float64(),
        **{_RANKS[name]: pl.Int64() for name in traced.retrieved},
        **({} if traced.values is None else {"group": pl.String()}),
        **({"document_id": pl.String()} if traced.whole.in_windows else {}),
    }


def behaviours(traced: Traced) -> pl.DataFrame:
    """What was asked and how it was answered: a row per query."""
    flagged, itself = flags(traced), traced.found.itself
    first = ranks(np.where(itself, -np.inf, traced.found.score)) <= OVERLAP
    overlaps = {
        name: (first & (ranks(np.where(itself, -np.inf, values)) <= OVERLAP)).sum(axis=1)
        for name, values in traced.retrieved.items()
    }
    made = []
    for row, (group, queries) in enumerate(traced.asked.behaviours.items()):
        for query in queries:
            made.append(
                {
                    "query_id": group,
                    "says": query.says,
                    "prompt": query.prompt,
                    "completion": query.completion,
                    "written_by_model": query.written,
                    "probability": query.probability,
                    "probability_per_token": query.per_token,
                    "shown_pool": None if query.shown is None else query.shown[0],
                    "shown_id": None if query.shown is None else query.shown[1],
                    "flagged": int(flagged[row].sum()),
                    **{
                        f"shared_with_{name}": int(overlaps[name][row])
                        if name in overlaps
                        else None
                        for name in (BM25, EMBEDDING)
                    },
                }
            )
    return pl.DataFrame(
        made,
        infer_schema_length=None,
        schema_overrides={
            "prompt": pl.String(), "completion": pl.String(), "probability_per_token": pl.Float64(),
            "shown_pool": pl.String(), "shown_id": pl.String(),
            **{f"shared_with_{name}": pl.Int64() for name in (BM25, EMBEDDING)},
        },
    )  # fmt: skip


def spread(traced: Traced) -> pl.DataFrame:
    """How many examples have which score, and how many by chance: a row per behaviour and bin."""
    made = []
    chance = traced.chance.score if traced.chance is not None else np.zeros(0)
    for row, group in enumerate(traced.asked.behaviours):
        units = traced.found.score[row, ~traced.found.itself[row]]
        both = np.concatenate([units, chance])
        if not len(both):
            continue
        edges = np.linspace(both.min(), both.max() + 1e-9, _BINS + 1)
        counts = np.histogram(units, edges)[0]
        expected = np.histogram(chance, edges)[0] * len(units) / max(len(chance), 1)
        for place in range(_BINS):
            made.append(
                {
                    "query_id": group,
                    "from": float(edges[place]),
                    "to": float(edges[place + 1]),
                    "examples": int(counts[place]),
                    "by_chance": float(expected[place]),
                }
            )
    return pl.DataFrame(made)
