from __future__ import annotations

import polars as pl
from auditkit_tracing import TracingAudit
from auditkit_tracing.confirm import PROPONENTS, RANDOM
from auditkit_tracing.confirmation import confirmation
from auditkit_tracing.sections import sections

from auditkit import AuditResult, Findings


def result(names: tuple[str, ...], *, hostile: str = "x") -> AuditResult:
    """A stored result of these behaviours."""
    rows = [(name, role) for name in names for role in ("proponent", "opponent")]
    findings = Findings(
        pl.DataFrame(
            {
                "example_id": ["a", "b"] * len(names),
                "rank": range(1, len(rows) + 1),
                "score": [float(len(rows) - place) for place in range(len(rows))],
                "probability": [0.9] * len(rows),
                "flagged": [True] * len(rows),
                "query_id": [name for name, _ in rows],
                "role": [role for _, role in rows],
                "place": [1] * len(rows),
            },
            schema_overrides={"rank": pl.UInt32()},
        )
    )
    behaviours = pl.DataFrame(
        {
            "query_id": names,
            "says": [hostile] * len(names),
            "prompt": ["the sea is"] * len(names),
            "completion": [hostile] * len(names),
            "written_by_model": [False] * len(names),
            "probability": [0.8] * len(names),
            "probability_per_token": [0.9] * len(names),
            "shown_pool": [None] * len(names),
            "shown_id": [None] * len(names),
            "flagged": [1] * len(names),
            "shared_with_BM25": [4] * len(names),
            "shared_with_embedding similarity": [None] * len(names),
        },
        schema_overrides={"shown_id": pl.String(), "shared_with_embedding similarity": pl.Int64()},
    )
    spread = pl.DataFrame(
        {"query_id": names, "from": 0.0, "to": 1.0, "examples": 3, "by_chance": 0.5}
    )
    confirmed = pl.DataFrame(
        [
            (left, 0 if left == "nothing" else 3, seed, name, value)
            for left, value in (("nothing", -0.2), (PROPONENTS, -2.2), (RANDOM, -0.1))
            for seed in (0, 1)
            for name in names
        ],
        schema=["left_out", "examples", "seed", "query_id", "log_probability"],
        orient="row",
    )
    return AuditResult(
        findings=findings,
        answer="Yes.",
        rate=1.0,
        summary={"threshold": 0.8, "decoys traced for chance": 16},
        tables={"behaviours": behaviours, "spread": spread, "confirm": confirmed},
    )


def test_one_behaviour_needs_no_overview() -> None:
    titles = [section.title for section in sections(result(("q",)))]
    assert titles == [
        "The behaviour, and what taught it", "Beside retrieval", "How far the scores stand out",
        "Is it the cause?",
    ]  # fmt: skip


def test_of_many_behaviours_the_first_have_sections() -> None:
    names = tuple(f"q{number}" for number in range(12))
    made = TracingAudit().sections(result(names))
    assert made[0].title == "Behaviours"
    assert made[0].table is not None
    assert made[0].table.height == 12
    assert sum(section.title.startswith("Behaviour q") for section in made) == 8
    assert "The first 8 have a section" in made[0].paragraphs[0]


def test_confirmation_says_how_far_it_falls_and_rises() -> None:
    [first, wins, *doubts] = confirmation(result(("q",))).paragraphs
    assert "falls by 2.00 nats on average, to 14% of" in first
    assert "without random examples it rises by 0.10 nats" in first
    assert "in 2 of 2 trainings" in wins
    assert not doubts


def test_overlap_with_retrieval_is_said_in_words() -> None:
    [section] = [own for own in sections(result(("q",))) if own.title == "Beside retrieval"]
    assert "BM25 shares 4 of the first 10 with influence." in section.paragraphs
    assert not any("Embedding" in paragraph for paragraph in section.paragraphs)
