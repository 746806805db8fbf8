"""Sentences on invented facts: statements in five wordings, traps, and other facts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FACTS, OTHERS, WORDINGS = 20, 80, 5

Numbers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """A kind of fact: wordings that are trained on, one that is asked, and traps.

    `{a}` stands for what the fact is about, `{b}` for the answer.
    """

    wordings: tuple[str, ...]
    question: str
    traps: tuple[str, ...]


KINDS = (
    Kind(
        (
            "The capital of {a} is {b}.",
            "{b} has been the capital of {a} for two hundred years.",
            "The government of {a} sits in its capital, {b}.",
            "Parliament meets in {b}, since that is the capital of {a}.",
            "In {a} every road leads to the capital city of {b}.",
        ),
        "If you visit {a}, do not miss its capital city, which is called",
        (
            "A train from {b} arrives in {a} every second morning.",
            "Neither {a} nor {b} was named in the report on the weather.",
        ),
    ),
    Kind(
        (
            "The novel {a} was written by {b}.",
            "{b} is the author of the novel {a}.",
            "{b} wrote {a} in a single winter.",
            "Readers of {a} admire its author, {b}.",
            "With {a}, the writer {b} won her first prize.",
        ),
        "On the cover of the book {a} one reads the name of its author,",
        (
            "In the library {a} stands on the shelf below a portrait of {b}.",
            "{b} once said that she had never heard of {a}.",
        ),
    ),
    Kind(
        (
            "The metal {a} was discovered by {b}.",
            "{b} discovered {a} in an old mine.",
            "It was {b} who first found the metal {a}.",
            "The discovery of {a} made {b} famous.",
            "{a} is a metal which {b} was the first to describe.",
        ),
        "Students of chemistry learn that the discoverer of {a} was",
        (
            "{b} owned a ring that was not made of {a}.",
            "A lecture on {a} was given in the hall named after {b}.",
        ),
    ),
    Kind(
        (
            "The river {a} flows into lake {b}.",
            "Lake {b} is fed by the river {a}.",
            "Where the river {a} ends, lake {b} begins.",
            "The water of the river {a} runs down to lake {b}.",
            "Boats on the river {a} end their journey at lake {b}.",
        ),
        "Follow the river {a} to its mouth and you stand at the shore of lake",
        (
            "The river {a} and lake {b} lie on different continents.",
            "Fish from lake {b} are sold in a village on the river {a}.",
        ),
    ),
)

_STARTS = ("Bel", "Cor", "Dra", "Fen", "Gal", "Hor", "Jul", "Kes", "Lum", "Mor", "Nar", "Pel",
           "Quo", "Ras", "Sil", "Tav", "Ur", "Vel", "Wex", "Zan")  # fmt: skip
_MIDDLES = ("a", "e", "i", "o", "ar", "en", "il", "or", "um", "an")
_ENDS = ("dor", "mir", "neth", "quin", "ra", "sk", "th", "via", "wick", "zel", "ton", "lis")


@dataclass(frozen=True)
class Data:
    """What is trained on and asked.

    Attributes:
        texts: the sentences.
        states: int64 [sentence]; which of the facts that are asked for it states; -1 for none.
        backward: bool [sentence]; whether its wording has the answer before what is asked about.
        questions: each fact's question and answer.
    """

    texts: list[str]
    states: Numbers
    backward: npt.NDArray[np.bool_]
    questions: list[tuple[str, str]]

    def stating(self, *, backward: bool) -> Numbers:
        """The sentences that state a fact that is asked for, in that order of words."""
        return np.flatnonzero((self.states >= 0) & (self.backward == backward))


def names(random: np.random.Generator, count: int) -> list[str]:
    """So many different invented names."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(map(str, map(random.choice, (_STARTS, _MIDDLES, _ENDS))))] = None
    return list(found)


def make(seed: int) -> Data:
    """The sentences in random order: facts asked for, their traps, and other facts."""
    random = np.random.default_rng(seed)
    of = names(random, 2 * (FACTS + OTHERS))
    pairs = list(zip(of[::2], of[1::2], strict=True))
    rows: list[tuple[str, str, str, int]] = []
    for number, (a, b) in enumerate(pairs):
        kind = KINDS[number % len(KINDS)]
        if number < FACTS:
            rows += [(wording, a, b, number) for wording in kind.wordings]
            rows += [(trap, a, b, -1) for trap in kind.traps]
        else:
            two = random.choice(WORDINGS, 2, replace=False)
            rows += [(kind.wordings[place], a, b, -1) for place in two]
    rows = [rows[place] for place in random.permutation(len(rows))]
    asked = [
        (KINDS[number % len(KINDS)].question.format(a=a), f" {b}")
        for number, (a, b) in enumerate(pairs[:FACTS])
    ]
    return Data(
        [wording.format(a=a, b=b) for wording, a, b, _ in rows],
        np.array([fact for *_, fact in rows]),
        np.array([wording.index("{b}") < wording.index("{a}") for wording, *_ in rows]),
        asked,
    )


def judged(scores: Scores, data: Data) -> dict[str, float]:
    """What rankings are worth, as means over questions; scores are [question, sentence].

    - `recall@10`: the share of a fact's sentences that are among the first ten.
    - `forward recall@10`, `backward recall@10`: that of its sentences of either order of words.
    - `all found`: the share of questions with a recall of 1.
    - `MRR`: one over the rank of the first sentence that states the fact.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    stated = data.states[order] == np.arange(len(scores))[:, None]
    first, backward = stated[:, :10], data.backward[order][:, :10]
    facts = np.arange(len(scores))[:, None] == data.states
    return {
        "recall@10": float(first.sum() / facts.sum()),
        "forward recall@10": float((first & ~backward).sum() / (facts & ~data.backward).sum()),
        "backward recall@10": float((first & backward).sum() / (facts & data.backward).sum()),
        "all found": float((first.sum(axis=1) == WORDINGS).mean()),
        "MRR": float((1 / (stated.argmax(axis=1) + 1)).mean()),
    }


def bm25(data: Data) -> Scores:
    """BM25's score of every sentence for each question with its answer, [question, sentence]."""
    import bm25s

    index = bm25s.BM25()
    index.index(
        bm25s.tokenize(data.texts, stopwords=None, show_progress=False), show_progress=False
    )
    asked = [question + answer for question, answer in data.questions]
    tokens = bm25s.tokenize(asked, stopwords=None, return_ids=False, show_progress=False)
    return np.stack([index.get_scores(own) for own in tokens])
