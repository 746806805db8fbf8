from __future__ import annotations

import numpy as np
import pytest
from auditkit_tracing.retrieval import bm25, ranks, words_of


def test_words() -> None:
    assert words_of("Don't, SEA-side 42!") == ["don", "t", "sea", "side", "42"]
    assert words_of("海は青い") == ["海", "は", "青", "い"]


def test_texts_that_share_rare_words_come_first() -> None:
    pytest.importorskip("bm25s")
    texts = ["the sea is blue", "the sun is red", "the sun, the sun", ""]
    scores = bm25(texts, ["Blue sea", "sun", "?!"])
    assert scores.shape == (3, 4)
    assert scores[0].argmax() == 0
    assert set(np.flatnonzero(scores[1])) == {1, 2}
    assert not scores[2, :3].any()


def test_a_query_without_words_matches_nothing() -> None:
    pytest.importorskip("bm25s")
    scores = bm25(["the sea is blue", "the sun is red"], ["?!", "sun", "", "unheard"])
    assert scores.shape == (4, 2)
    assert np.argwhere(scores).tolist() == [[1, 1]]


def test_ranks() -> None:
    assert ranks(np.array([[1.0, 3.0, 3.0, 0.0]])).tolist() == [[3, 1, 2, 4]]
