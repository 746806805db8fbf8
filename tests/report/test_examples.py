"""Which examples are stored for a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from auditkit import (
    AuditResult,
    Findings,
    Gallery,
    GalleryRow,
    Pool,
    Section,
    Shown,
    Subject,
    TextPreview,
)
from auditkit.errors import PluginError
from auditkit.report.examples import shown_previews
from auditkit.showing import PoolName

TRAIN = Pool(range(6), ids=list("abcdef"), preview=lambda place: TextPreview(f"train {place}"))
ASKED = Pool(range(4), ids=list("abxy"), preview=lambda place: TextPreview(f"asked {place}"))


def stored(
    ids: Sequence[str],
    *,
    judged: PoolName = "train",
    other: Sequence[str | None] | None = None,
    shown: Sequence[Shown] = (),
    queries: Pool | None = ASKED,
    top: int = 2,
) -> dict[tuple[str, str], str]:
    columns = {} if other is None else {"other_id": other}
    findings = Findings.ranked(ids, -np.arange(len(ids), dtype=float), columns=columns)
    result = AuditResult(findings, answer="Some.", rate=0.0)
    sections = [Section("One", galleries=[Gallery([GalleryRow(shown)])])]
    subject = Subject(train=TRAIN, queries=queries)
    frame = shown_previews(subject, result, sections, audit="count", judged=judged, top=top)
    return {(row["pool"], row["example_id"]): row["text"] for row in frame.iter_rows(named=True)}


def test_the_worst_findings_and_what_they_are_paired_with_are_stored() -> None:
    found = stored(["x", "a", "y"], judged="queries", other=["f", None, "b"])
    assert found == {
        ("train", "f"): "train 5",
        ("queries", "x"): "asked 2",
        ("queries", "a"): "asked 0",
    }


def test_what_sections_show_is_stored_of_either_pool() -> None:
    found = stored(["c"], shown=[Shown("queries", "a"), Shown("train", "a"), Shown("train", "c")])
    assert found == {
        ("train", "c"): "train 2",
        ("train", "a"): "train 0",
        ("queries", "a"): "asked 0",
    }


@pytest.mark.parametrize("ids", [["c", "nowhere"], ["a", "b", "c", "nowhere"]])
def test_an_example_that_is_in_no_pool_is_the_audit_s_fault(ids: list[str]) -> None:
    with pytest.raises(PluginError, match=r"'nowhere'.*pool it names"):
        stored(ids)
    with pytest.raises(PluginError, match=r"'nowhere'.*pool it names"):
        stored(["a"], shown=[Shown("train", "nowhere")])


def test_queries_cannot_be_shown_where_there_are_none() -> None:
    with pytest.raises(PluginError, match="ran without any"):
        stored(["a"], shown=[Shown("queries", "a")], queries=None)
