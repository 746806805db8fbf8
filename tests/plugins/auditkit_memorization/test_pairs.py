from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from auditkit_memorization import pairs
from auditkit_memorization.settings import Context

from auditkit import Pool
from tests.plugins.auditkit_memorization.conftest import NEGATIVES, Digits

MakeContext = Callable[..., Context]


def test_negatives_lean_on_the_few_memorized_negatives(
    digits: Digits, make_context: MakeContext
) -> None:
    found = pairs.leaning(make_context(digits.subject), np.arange(NEGATIVES), most=1_000)
    assert found.columns == list(pairs.SCHEMA)
    assert (found["fall"] >= pairs.LEANS).all()
    assert found["fall"].is_sorted(descending=True)
    assert found["example_id"].value_counts()["count"].max() <= pairs.KEPT
    gone = found["label_probability"] - found["label_probability_without"]
    assert gone.to_list() == pytest.approx(found["fall"].to_list())
    negative = [int(name) >= 600 for name in found["query_id"].head(10)]
    assert np.mean(negative) >= 0.7  # a sixth of the queries are


def test_so_many_queries_are_asked_at_most(digits: Digits, make_context: MakeContext) -> None:
    context = make_context(digits.subject)
    some = pairs.asked(context, most=7)
    assert some is not None
    assert len(some) == 7
    again = pairs.asked(context, most=7)
    assert again is not None
    assert some.ids == again.ids
    assert pairs.asked(context, most=0) is None
    assert pairs.asked(context, most=120) is digits.subject.queries


def test_without_queries_or_memorized_examples_there_are_no_pairs(
    digits: Digits, make_context: MakeContext
) -> None:
    none = np.array([], dtype=np.int64)
    assert pairs.leaning(make_context(digits.subject), none, most=9).height == 0
    alone = make_context(replace(digits.subject, queries=None))
    assert pairs.leaning(alone, np.arange(3), most=9).height == 0


def test_blocks_change_nothing(
    digits: Digits, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = digits.subject.queries
    assert isinstance(queries, Pool)
    few = make_context(replace(digits.subject, queries=queries.subset(range(100, 120))))
    whole = pairs.leaning(few, np.arange(NEGATIVES), most=20)
    monkeypatch.setattr(pairs, "_HELD", 5 * 500)
    parts = pairs.leaning(few, np.arange(NEGATIVES), most=20)
    assert parts["query_id"].to_list() == whole["query_id"].to_list()
    assert parts["fall"].to_list() == pytest.approx(whole["fall"].to_list(), rel=1e-3)
