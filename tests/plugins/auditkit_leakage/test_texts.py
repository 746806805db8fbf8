from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from auditkit_leakage import altering
from auditkit_leakage.texts import find_texts, words_of

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "mo")]


def corpus(count: int, *, length: int = 60, seed: int = 0) -> list[str]:
    """Texts of words of very unequal frequency, with a footer that all share."""
    random = np.random.default_rng(seed)
    odds = 1 / np.arange(1, len(WORDS) + 1)
    footer = "To unsubscribe from this list, please write to the owner of the list."
    return [
        " ".join(random.choice(WORDS, length, p=odds / odds.sum())) + ". " + footer
        for _ in range(count)
    ]


TRAIN = corpus(400)


@pytest.mark.parametrize(
    ("alter", "kind"),
    [
        (altering.recased, "case/punctuation"),
        (altering.repunctuated, "case/punctuation"),
        (altering.reworded, "changed words"),
        (altering.truncated, "truncation"),
    ],
)
def test_an_altered_text_leads_to_its_original(
    alter: Callable[[str, Sequence[str], np.random.Generator], str], kind: str
) -> None:
    random = np.random.default_rng(2)
    places = random.permutation(len(TRAIN))[:60]
    found = find_texts(TRAIN, [alter(TRAIN[p], WORDS, random) for p in places], neighbours=1)
    assert (found.train == places).mean() >= 0.98
    assert np.mean([word == kind for word in found.kind]) >= 0.9
    strangers = find_texts(TRAIN, corpus(60, seed=9), neighbours=1)
    assert found.distance.max() < np.quantile(strangers.distance, 0.05)


def test_a_longer_text_that_holds_the_original_is_found() -> None:
    found = find_texts(TRAIN, ["> " + TRAIN[7] + " " + " ".join(corpus(1, seed=4))], neighbours=1)
    assert found.train.tolist() == [7]
    assert found.kind == ["truncation"]


def test_scripts_without_spaces_are_compared_sign_by_sign() -> None:
    train = ["机器学习模型需要很多训练数据", "今天天气很好我们去公园散步", "東京は日本の首都です"]
    found = find_texts(train, ["机器学习模型需要许多训练数据"], neighbours=1)
    assert found.train.tolist() == [0]
    assert words_of("东京 Tōkyō") == ["东", "京", "tōkyō"]


def test_hostile_texts_do_no_harm() -> None:
    hostile = [
        "",
        " \n",
        "\x00\ud800",
        "!!!???",
        "a" * 100_000,
        "<script>alert(1)</script>",
        "%s{}",
    ]
    found = find_texts(hostile, hostile, same_pool=True)
    assert np.isfinite(found.distance).all()
    assert (found.evaluation != found.train).all()
    every = find_texts([*TRAIN, *hostile], hostile, neighbours=1)
    np.testing.assert_array_equal(every.evaluation, np.arange(len(hostile)))
    np.testing.assert_array_equal(every.train[4:], len(TRAIN) + np.arange(4, 7))


def test_equal_texts_are_no_trouble() -> None:
    found = find_texts(["the same words"] * 50, ["the same words"] * 2)
    assert found.distance.tolist() == [0.0] * 6
    assert find_texts(["alone"], ["alone"], neighbours=3).train.tolist() == [0]


def test_long_words_are_read_in_pieces() -> None:
    assert [len(word) for word in words_of("x" * 50)] == [24, 24, 2]
