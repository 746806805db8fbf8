from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from auditkit_tracing.marking import marks, spans_of, token_spans

from auditkit import Answers, Documents, Pool, TextPreview


class Words:
    """Tokens that are words of a list, with a space before each but the first."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    def encode(self, text: str) -> Sequence[int]:
        return [self.words.index(word) for word in text.split()]

    def decode(self, token_ids: Sequence[int]) -> str:
        return " ".join(self.words[token] for token in token_ids)


WORDS = Words(["<s>", "the", "sea", "is", "blue", "</s>"])


def cut(text: str, spans: Sequence[tuple[int, int] | None]) -> list[str | None]:
    return [None if span is None else text[slice(*span)].strip() for span in spans]


def test_tokens_are_found_in_the_text() -> None:
    text = "the sea is blue"
    assert cut(text, spans_of(text, [1, 2, 3, 4], WORDS)) == ["the", "sea", "is", "blue"]


def test_marks_around_a_text_are_passed_over() -> None:
    text = "the sea is blue"
    found = cut(text, spans_of(text, [0, 1, 2, 3, 4, 5], WORDS))
    assert found == [None, "the", "sea", "is", "blue", ""]


def test_what_does_not_agree_is_not_marked() -> None:
    assert spans_of("THE SEA", [1, 2], WORDS) == [None, None]


def test_spans_of_counted_tokens_only() -> None:
    documents = Documents([[1, 2, 3, 4]], prompts=[2])
    pool = Pool(documents, preview=lambda _: TextPreview("the sea is blue"))
    assert cut("the sea is blue", token_spans(documents, 0, pool, WORDS)) == ["is", "blue"]


def test_spans_of_an_answer_that_follows_its_input() -> None:
    answers = Answers([[1, 2]], [[4, 5]])
    text = "the sea\nis\nblue"
    pool = Pool(answers, preview=lambda _: TextPreview(text))
    assert cut(text, token_spans(answers, 0, pool, WORDS)) == ["blue", ""]


def test_faint_changes_and_empty_spans_get_no_mark() -> None:
    spans = [(0, 3), (3, 7), (7, 7), None, (7, 10)]
    changes = np.array([1.0, 10.0, 9.0, 8.0, -5.0])
    assert marks(spans, changes) == [(3, 7, 1.0), (7, 10, -0.5)]
    assert marks(spans, np.zeros(5)) == []
    assert marks([], changes) == []
