"""What is compared with what, and the tables that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from auditkit_mirror.agreement import Agreement, agreement, scaled
from auditkit_mirror.approximators import descent, influence_functions, safe_rate, tracin
from auditkit_mirror.measured import Measured
from auditkit_mirror.network import NetworkStudy

RESAMPLES = 200
"""Samples of each bootstrap."""

SHOWN_POINTS = 250

CHECKPOINTS = (1, 10, 100)
RATE = 1e-3
"""The step of TracIn against the largest at which gradient descent converges."""


@dataclass(frozen=True)
class Line:
    """One row of the table of correlations.

    Attributes:
        setting: what was compared, in words.
        compared: over how many of what.
        found: the correlations.
    """

    setting: str
    compared: str
    found: Agreement


def lines_of(measured: Measured) -> Sequence[Line]:
    """What was compared with what; the published comparison first, the network last."""
    mirror, optimum, asked = measured.mirror, measured.optimum, measured.asked
    formulas = influence_functions(optimum, asked)
    rate = RATE * safe_rate(optimum.problem)
    steps = tracin(optimum.problem, asked, descent(optimum.problem, steps=CHECKPOINTS), rate=rate)
    rows, queries = mirror.train_to_test.shape[1], mirror.train_to_test.shape[0]
    what = f"{rows:,} examples, {queries} {'query' if queries == 1 else 'queries'}"
    pairs = [
        ("retrained, as published", mirror.train_to_test, mirror.test_to_train),
        ("retrained, the query does not strengthen the regularizer", mirror.train_to_test,
         mirror.kept),
        ("retrained, and put in to a hundredth", mirror.train_to_test, mirror.limit),
        ("influence functions, both directions", formulas.train_to_test, formulas.test_to_train),
        ("TracIn, both directions", steps.train_to_test, steps.test_to_train),
        ("influence function against leaving out", mirror.train_to_test, formulas.train_to_test),
    ]  # fmt: skip
    lines = [
        Line(name, what, agreement(left, right, resamples=RESAMPLES)) for name, left, right in pairs
    ]
    if measured.network is not None:
        found = measured.network.mirror
        sides = (found.train_to_test.mean(axis=0), found.test_to_train.mean(axis=0))
        text = f"{len(sides[0])} groups, {len(found.train_to_test)} retrainings each"
        lines.append(
            Line(
                "the model itself, retrained without groups",
                text,
                agreement(*sides, resamples=RESAMPLES),
            )
        )
    return lines


def correlations(lines: Sequence[Line]) -> pl.DataFrame:
    """The table of correlations, with intervals."""
    return pl.DataFrame(
        [
            {
                "setting": line.setting,
                "compared": line.compared,
                "Pearson": line.found.pearson.mean,
                "from": line.found.pearson.mean_low,
                "to": line.found.pearson.mean_high,
                "Spearman": line.found.spearman.mean,
                "rank from": line.found.spearman.mean_low,
                "rank to": line.found.spearman.mean_high,
            }
            for line in lines
        ]
    )


def by_query(measured: Measured) -> pl.DataFrame:
    """Correlations query by query."""
    mirror = measured.mirror
    published, kept, limit = (
        agreement(mirror.train_to_test, side, resamples=RESAMPLES)
        for side in (mirror.test_to_train, mirror.kept, mirror.limit)
    )
    return pl.DataFrame(
        {
            "query": np.arange(1, len(mirror.train_to_test) + 1),
            "Pearson": published.pearson.each,
            "from": published.pearson.low,
            "to": published.pearson.high,
            "Spearman": published.spearman.each,
            "Spearman, regularizer kept": kept.spearman.each,
            "Spearman, small changes": limit.spearman.each,
        }
    )


def points(measured: Measured) -> pl.DataFrame:
    """Points of a few queries, in units of each side's root mean square."""
    mirror, frames = measured.mirror, []
    for query in range(min(3, len(mirror.train_to_test))):
        left, right = (scaled(side)[query] for side in (mirror.train_to_test, mirror.test_to_train))
        order = np.argsort(-np.abs(left), kind="stable")
        strongest = order[: SHOWN_POINTS // 2]
        others = order[SHOWN_POINTS // 2 :]
        step = max(1, len(others) * 2 // SHOWN_POINTS)
        chosen = np.concatenate([strongest, others[::step]])
        frames.append(
            pl.DataFrame(
                {
                    "query": np.full(len(chosen), query + 1),
                    "train to test": left[chosen],
                    "test to train": right[chosen],
                }
            )
        )
    return pl.concat(frames)


def by_group(network: NetworkStudy) -> pl.DataFrame:
    """Both influences of each group, and its share of wrong labels."""
    found = network.mirror
    return pl.DataFrame(
        {
            "wrong labels": found.ratios,
            "train to test": found.train_to_test.mean(axis=0),
            "test to train": found.test_to_train.mean(axis=0),
        }
    )


def by_seeds(network: NetworkStudy) -> pl.DataFrame:
    """Correlations over groups with more and more retrainings averaged."""
    found, rows = network.mirror, []
    for count in range(1, len(found.train_to_test) + 1):
        both = agreement(
            found.train_to_test[:count].mean(axis=0),
            found.test_to_train[:count].mean(axis=0),
            resamples=RESAMPLES,
        )
        rows.append(
            {
                "retrainings": count,
                "Pearson": both.pearson.mean,
                "from": float(both.pearson.low[0]),
                "to": float(both.pearson.high[0]),
                "Spearman": both.spearman.mean,
            }
        )
    return pl.DataFrame(rows)
