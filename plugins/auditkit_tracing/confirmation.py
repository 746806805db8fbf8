"""The part of the report on retraining: how far the behaviour's probability falls."""

from __future__ import annotations

import altair as alt
import numpy as np
import polars as pl

from auditkit import AuditResult, Figure, Section
from auditkit_tracing.confirm import EVERYTHING, PROPONENTS, RANDOM

_POOR = 0.5
"""Retrained models that give the behaviour less than this of the audited model's probability are
another model than it."""


def confirmation(result: AuditResult) -> Section:
    """What trainings without the proponents, random examples and retrieval's say."""
    falls_ = falls(result.tables["confirm"])
    return Section(
        "Is it the cause?",
        paragraphs=tuple(_sentences(result, falls_)),
        table=_table(result.tables["confirm"], falls_),
        figures=(_figure(falls_),),
    )


def falls(frame: pl.DataFrame) -> pl.DataFrame:
    """How far the log probability falls without each set: a row per set, seed and behaviour.

    Trainings of one seed have their fresh weights and order in common, so they are compared pair by
    pair.
    """
    base = frame.filter(pl.col("left_out") == EVERYTHING)
    joined = frame.filter(pl.col("left_out") != EVERYTHING).join(
        base.select("seed", "query_id", with_all="log_probability"), on=["seed", "query_id"]
    )
    return joined.with_columns((pl.col("with_all") - pl.col("log_probability")).alias("fall"))


def _by_seed(falls_: pl.DataFrame) -> pl.DataFrame:
    return falls_.group_by("left_out", "seed", maintain_order=True).agg(pl.col("fall").mean())


def _mean(falls_: pl.DataFrame, name: str) -> float:
    return float(falls_.filter(pl.col("left_out") == name)["fall"].to_numpy().mean())


def _sentences(result: AuditResult, falls_: pl.DataFrame) -> list[str]:
    sets = falls_["left_out"].unique(maintain_order=True).to_list()
    size, seeds = int(falls_["examples"][0]), falls_["seed"].n_unique()
    own = _mean(falls_, PROPONENTS)
    others = {name: _mean(falls_, name) for name in sets if name != PROPONENTS}
    said = [
        f"The model was trained again {seeds} time{'s' if seeds > 1 else ''} each with everything "
        f"and without {size:,} training examples: the first proponents, as many at random, and "
        "what retrieval finds first. Without the proponents, the behaviour's log probability "
        f"{_moves(own)} on average, to {_share(own)} of the probability it has with "
        "everything; "
        + "; ".join(f"without {_called(name)} it {_moves(value)}" for name, value in others.items())
        + "."
    ]
    table = _by_seed(falls_).pivot(on="left_out", index="seed", values="fall")
    for name in others:
        wins = int((table[PROPONENTS] > table[name]).sum())
        said.append(
            f"Leaving out the proponents hurts it more than leaving out {_called(name)} in {wins} "
            f"of {seeds} trainings."
        )
    return [*_doubts(result), *said]


def _moves(fall: float) -> str:
    return f"{'falls' if fall >= 0 else 'rises'} by {abs(fall):.2f} nats"


def _share(fall: float) -> str:
    share = float(np.exp(-fall))
    return "less than 1%" if share < 0.005 else f"{share:.0%}"


def _called(name: str) -> str:
    return name if name == RANDOM else f"the first of {name}"


def _doubts(result: AuditResult) -> list[str]:
    """Where the retrained models do not show the behaviour."""
    retrained = result.tables["confirm"].filter(pl.col("left_out") == EVERYTHING)
    audited = result.tables["behaviours"]["probability"].to_numpy()
    logs = float(np.log(np.clip(audited, 1e-300, 1)).mean())
    now = float(retrained["log_probability"].to_numpy().mean())
    if now >= logs + np.log(_POOR):
        return []
    return [
        f"Trained again with everything, the model gives the behaviour a typical probability of "
        f"{np.exp(now):.2g}, the audited model {np.exp(logs):.2g}: it is trained less or otherwise "
        "than that one was, so what follows says little; give --confirm-epochs and --confirm-rate, "
        "--base if it was fine-tuned, or the model's own recipe in Python."
    ]


def _table(frame: pl.DataFrame, falls_: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for name in frame["left_out"].unique(maintain_order=True):
        own = frame.filter(pl.col("left_out") == name)
        by_seed = _by_seed(falls_).filter(pl.col("left_out") == name)["fall"].to_numpy()
        rows.append(
            {
                "left_out": name,
                "examples": int(own["examples"][0]),
                "probability": float(np.exp(own["log_probability"].to_numpy().mean())),
                "fall in nats": float(by_seed.mean()) if len(by_seed) else None,
                "least": float(by_seed.min()) if len(by_seed) else None,
                "most": float(by_seed.max()) if len(by_seed) else None,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _figure(falls_: pl.DataFrame) -> Figure:
    chart = (
        alt.Chart(_by_seed(falls_))
        .mark_circle(size=70, opacity=0.7)
        .encode(
            x=alt.X("fall:Q", title="fall of the behaviour's log probability, nats"),
            y=alt.Y("left_out:N", title=None, sort=None),
        )
        .properties(width=480, height=120)
    )
    return Figure(chart, "One dot per seed: how far the behaviour falls without each set.")
