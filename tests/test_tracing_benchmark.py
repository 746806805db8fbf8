"""What the fact-tracing benchmark takes for true: its documents, and how rankings are judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tracing.corpus import Corpus, Document, Query, make_corpus
from benchmarks.tracing.facts import Fact, Relation
from benchmarks.tracing.ranking import judge
from benchmarks.tracing.wording import WORDINGS

COMMON = {"in", "of", "the", "is", "are", "after", "its", "for", "with", "under", "."}
ANSWERS: dict[Relation, str] = {
    "capital": "Paris", "city": "Lyon", "currency": "euro",
    "demonym": "French", "code": "33", "domain": ".fr",
}  # fmt: skip
FACTS = [
    Fact(relation, "France", answer, "Paris" if relation == "demonym" else "French")
    for relation, answer in ANSWERS.items()
]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(0, queries=len(FACTS), known=FACTS * 20)


def test_statements_and_rewordings_hold_the_answer_and_only_statements_the_country(
    corpus: Corpus,
) -> None:
    for own in corpus.documents:
        fact, words = corpus.facts[own.fact], own.text.split()
        assert fact.answer in words
        assert (fact.country in words) == (own.kind != "rewording")
        assert own.kind == "trap" or words[-2] == fact.answer


@pytest.mark.parametrize("relation", WORDINGS)
def test_rewordings_share_no_word_with_the_query_but_common_ones(relation: Relation) -> None:
    own = WORDINGS[relation]
    for pattern in own.rewordings:
        shared = set(own.query.split()) & set(pattern.split())
        assert shared <= COMMON, pattern


@pytest.mark.parametrize("relation", WORDINGS)
def test_the_querys_phrasing_is_not_trained_on(relation: Relation) -> None:
    own = WORDINGS[relation]
    assert not any(own.query in pattern for pattern in (*own.statements, *own.traps))


def test_only_documents_that_state_the_fact_are_true_and_traps_exist(corpus: Corpus) -> None:
    kinds = [own.kind for own in corpus.documents]
    assert {"statement", "rewording", "trap"} == set(kinds)
    for question in corpus.queries:
        true = corpus.stating(question)
        assert all(corpus.documents[place].fact == question.fact for place in true)
        assert all(corpus.documents[place].kind != "trap" for place in true)
        assert 2 <= len(true - corpus.reworded(question)) <= 5


def test_a_seed_gives_the_same_corpus_again_and_another_seed_another(corpus: Corpus) -> None:
    again, other = (make_corpus(seed, queries=6, known=FACTS * 20) for seed in (0, 1))
    assert again.documents == corpus.documents
    assert other.documents != corpus.documents


def test_a_ranking_is_judged_by_the_first_ten_and_reworded_documents_apart() -> None:
    kinds = ["trap", "statement", "rewording", *["statement"] * 9]
    documents = [Document("", 0 if place < 3 else 1, kind) for place, kind in enumerate(kinds)]  # type: ignore[arg-type]
    corpus = Corpus(FACTS, documents, [Query("", "", 0)])
    assert len(corpus.facts) == 6  # of six answers
    values = np.array([[12, 11, -1, *range(9, 0, -1)]], dtype=np.float32)
    assert judge(corpus, corpus.queries, values) == {
        "queries": 1,
        "MRR": 0.5,
        "recall@10": 0.5,
        "reworded recall@10": 0.0,
        "shared recall@10": None,
        "all found": 0.0,
        "first is a trap": 1.0,
    }
