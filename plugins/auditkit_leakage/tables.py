"""The tables stored beside the findings: pairs, metric, agreement, duplicates and distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from auditkit import Pool
from auditkit_leakage import duplicates, metric
from auditkit_leakage.evidence import IDENTICAL, Evidence, best_of
from auditkit_leakage.judgement import Judgement, Samples, fitted

_MOST_DISTANCES = 1_000
"""How many distances of each sample are kept for the report."""


def pairs_frame(train: Pool, judged: Pool, found: Evidence, judgement: Judgement) -> pl.DataFrame:
    """All pairs found, with the probability of each as if it were the best of its example.

    It is null where it is not known; such pairs come last, nearest first.
    """
    pairs, best = found.found, found.best
    same = np.array([kind == IDENTICAL for kind in pairs.kind], dtype=bool)
    probability = judgement.mixture.probability(pairs.distance.astype(np.float64))
    certain = np.where(found.poor, found.beyond_chance, 1.0)
    probability[same] = certain[pairs.evaluation[same]]
    ids = train.ids
    return pl.DataFrame(
        {
            "example_id": [judged.ids[place] for place in pairs.evaluation],
            "other_id": [ids[place] for place in pairs.train],
            "kind": list(pairs.kind),
            "similarity": pairs.similarity.astype(np.float64),
            "distance": pairs.distance.astype(np.float64),
            "probability": pl.Series(probability).fill_nan(None),
            "best": best.pair[pairs.evaluation] == np.arange(len(pairs.evaluation)),
        },
        schema_overrides={"kind": pl.String()},
    ).sort(
        "probability", "distance", descending=[True, False], nulls_last=True, maintain_order=True
    )


def metric_frame(compared: metric.Compared | None) -> pl.DataFrame:
    """The metric on all and on clean only, one row, or none where there is no metric."""
    rows = [] if compared is None else [
        (compared.name, compared.whole, compared.clean, compared.difference,
         compared.low, compared.high)
    ]  # fmt: skip
    names = ("metric", "on all", "on clean only", "difference", "lowest", "highest")
    schema = {name: pl.String() if name == "metric" else pl.Float64() for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row").fill_nan(None)


def agreement_frame(findings: pl.DataFrame) -> pl.DataFrame:
    """How many examples each combination of the stages' verdicts holds; null is unknown."""
    influence = (
        pl.col("influence_rank") == 1
        if "influence_rank" in findings.columns
        else pl.lit(value=None, dtype=pl.Boolean)
    )
    return (
        findings.select(
            "identical",
            pl.when(pl.col("probability").is_not_null())
            .then(pl.col("flagged") & ~pl.col("identical"))
            .alias("near-duplicate"),
            influence.alias("first by influence"),
        )
        .group_by("identical", "near-duplicate", "first by influence")
        .agg(pl.len().cast(pl.Int64).alias("examples"))
        .sort("identical", "near-duplicate", "first by influence", descending=True, nulls_last=True)
    )


def clusters_frame(
    train: Pool, found: Evidence, *, labels: Sequence[str] | None, threshold: float
) -> pl.DataFrame:
    """Clusters of duplicates in the train pool: near ones too where all pairs were compared."""
    if found.within is None:
        return duplicates.duplicates_frame(found.codes, train.ids, labels)
    within = found.within
    best = best_of(within, len(train))
    near = best.distance[~best.identical & (best.pair >= 0)]
    mixture = fitted(Samples(near, found.null, found.planted))
    same = np.array([kind == IDENTICAL for kind in within.kind], dtype=bool)
    likely = mixture.probability(within.distance.astype(np.float64))
    linked = same | (likely >= threshold)
    cluster = duplicates.clusters(len(train), within.evaluation[linked], within.train[linked])
    return duplicates.duplicates_frame(cluster, train.ids, labels)


def distances_frame(found: Evidence) -> pl.DataFrame:
    """Some distances of each sample, for the report."""
    best = found.best
    samples = {
        "training examples to the rest": found.null,
        "planted copies": found.planted,
        "evaluation examples": best.distance[~best.identical & (best.pair >= 0)],
    }
    frames = [
        pl.DataFrame({"sample": [name] * len(kept), "distance": kept})
        for name, values in samples.items()
        if len(kept := np.sort(values)[:: max(1, len(values) // _MOST_DISTANCES)])
    ]
    schema = {"sample": pl.String(), "distance": pl.Float64()}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)
