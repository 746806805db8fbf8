"""From made scores to findings: which side an image is on, and which are kept."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_diffusion.audit import _kept
from auditkit_diffusion.judging import Judged, judged
from auditkit_diffusion.measuring import Reference, Stability, Table, standings
from auditkit_diffusion.neighbours import Nearness
from auditkit_diffusion.settings import Context, DiffusionSettings

from auditkit import AuditContext, Pool, Scores, SelfCheck, Subject

VALUES = np.array([
    [9.0, 0.5, 0.2, 0.1, -0.1, -0.2, -0.3, -6.0],  # both sides
    [9.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],  # proponents alone, although some are below the mean
    [-0.1, -0.2, -0.3, -0.4, -0.5, -0.6, -0.7, -9.0],  # opponents alone
])  # fmt: skip
CHECK = Reference(
    SelfCheck(queries=3, candidates=8, top1=1.0, top5=1.0),
    own=np.array([2.0, 2.0, 2.0]),
    others=np.array([1.0, 1.1, 1.2]),
)


def context_of(kept: int) -> Context:
    train = Pool.from_arrays(np.zeros((8, 2)), ids=[f"t{place}" for place in range(8)])
    settings = DiffusionSettings(kept=kept)
    return AuditContext(subject=Subject(task=None, train=train), settings=settings, scoring=None)


def judged_of(values: Table, *, kept: int = 2, again: Table | None = None) -> Judged:
    context, standing = context_of(kept), standings(values)
    scores = Scores(
        values.astype(np.float32), tuple(f"q{row}" for row in range(len(values))),
        context.subject.train.ids, np.ones(len(values), dtype=np.float32),
    )  # fmt: skip
    other = np.zeros((0, *values.shape)) if again is None else standings(again)[None]
    return judged(
        context, scores, standing, kept=_kept(standing, scores.values, kept), check=CHECK,
        again=Stability(np.arange(8), other, np.ones(8)),
        near=[Nearness(name, values) for name in ("pixels", "features")],
    )  # fmt: skip


def names(frame: pl.DataFrame, query: str, side: str) -> list[str]:
    own = frame.filter((pl.col("query_id") == query) & (pl.col("side") == side))
    return own.sort("score", descending=side == "proponent")["example_id"].to_list()


def test_an_image_is_on_the_side_that_its_score_says() -> None:
    kept = _kept(standings(VALUES), VALUES.astype(np.float32), 2)
    assert kept == [[0, 1, 7, 6], [0], [7]]


def test_each_side_is_kept_and_called_by_its_name() -> None:
    frame = judged_of(VALUES).findings.frame
    assert names(frame, "q0", "proponent") == ["t0", "t1"]
    assert names(frame, "q0", "opponent") == ["t7", "t6"]
    assert (names(frame, "q1", "proponent"), names(frame, "q1", "opponent")) == (["t0"], [])
    assert (names(frame, "q2", "proponent"), names(frame, "q2", "opponent")) == ([], ["t7"])
    for side, sign in (("proponent", 1), ("opponent", -1)):
        own = frame.filter(pl.col("side") == side)
        assert own.height == 3
        assert (sign * own["score"] > 0).all()
        assert (sign * own["influence"] > 0).all()


def test_an_opponent_never_stands_out() -> None:
    found = judged_of(VALUES)
    flagged = found.findings.flagged
    assert flagged.select("query_id", "example_id").rows() == [("q1", "t0"), ("q0", "t0")]
    assert found.leaning == 2
    assert "2 of 3 generated images lean on single training images, most of all q1" in found.answer


def test_each_side_is_found_again_on_its_own() -> None:
    other = VALUES.copy()
    other[0, :2] = [-9.0, 8.0]  # the first is now the last of all, and pushes out an opponent
    frame = judged_of(VALUES, again=other, kept=1).findings.frame
    own = frame.filter(pl.col("query_id") == "q0")
    again = dict(own.select("example_id", "found_again").iter_rows())
    assert again == {"t0": 0.0, "t7": 0.0}
    again = dict(
        judged_of(VALUES, again=other)
        .findings.frame.filter(pl.col("query_id") == "q0")
        .select("example_id", "found_again")
        .iter_rows()
    )
    assert again == {"t0": 0.0, "t1": 1.0, "t7": 1.0, "t6": 0.0}


def test_where_no_score_has_a_sign_nothing_is_kept() -> None:
    found = judged_of(np.zeros((2, 8)))
    assert not found.findings.frame.height
    assert "No training image of 8 is a proponent or an opponent of 2" in found.answer
    assert found.threshold == pytest.approx(2.4**0.5)
