from __future__ import annotations

import polars as pl
from auditkit_leakage.shown import NEAREST, PAIRS, by_kind, shown_pairs


def findings(flagged: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "example_id": [str(place) for place in range(100)],
            "other_id": [None if place == 3 else f"t{place}" for place in range(100)],
            "kind": ["flip" if place % 3 else "crop" for place in range(100)],
            "flagged": [place < flagged for place in range(100)],
        }
    )


def test_kinds_share_the_room_and_the_most_frequent_comes_first() -> None:
    kinds = by_kind(findings(60).filter("flagged"))
    assert [(kind, count) for kind, count, _ in kinds] == [("flip", 40), ("crop", 20)]
    assert all(part.height == PAIRS // 2 for _, _, part in kinds)


def test_pairs_that_are_shown_are_flagged_or_else_the_nearest() -> None:
    pairs = shown_pairs(findings(10))
    assert len(pairs) == 9
    assert ("3", "t3") not in pairs
    assert len(shown_pairs(findings(0))) == NEAREST
