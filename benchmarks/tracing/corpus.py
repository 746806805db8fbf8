"""The documents and queries of one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from benchmarks.tracing.facts import Fact, facts
from benchmarks.tracing.wording import OPENERS, WORDINGS

Kind: TypeAlias = Literal["statement", "rewording", "trap"]

STATEMENTS = (2, 3, 4, 5)
REWORDED, OPENED = 0.6, 0.4
TRAPS = (0.4, 0.4, 0.2)
"""How likely no, one and two traps are for a fact."""


@dataclass(frozen=True)
class Document:
    """A training document: its words, apart by spaces, and what it has to do with which fact."""

    text: str
    fact: int
    kind: Kind


@dataclass(frozen=True)
class Query:
    """A prompt in a phrasing that is not trained on, and the answer."""

    prompt: str
    answer: str
    fact: int

    @property
    def text(self) -> str:
        """Prompt and answer."""
        return f"{self.prompt} {self.answer}"


@dataclass(frozen=True)
class Corpus:
    """Documents, queries, and the facts that both are about."""

    facts: Sequence[Fact]
    documents: Sequence[Document]
    queries: Sequence[Query]

    def stating(self, query: Query) -> set[int]:
        """The places of the documents that state the query's fact, reworded ones among them."""
        return {
            place
            for place, own in enumerate(self.documents)
            if own.fact == query.fact and own.kind != "trap"
        }

    def reworded(self, query: Query) -> set[int]:
        """Those that state it without the words of the prompt."""
        return {p for p in self.stating(query) if self.documents[p].kind == "rewording"}


def make_corpus(seed: int, *, queries: int = 100, known: Sequence[Fact] = ()) -> Corpus:
    """Documents about all facts, and queries about some.

    Documents are in random order but for their lengths: with those of one length side by side,
    little padding is run.

    Args:
        seed: for what is drawn.
        queries: how many.
        known: the facts; by default all.
    """
    random = np.random.default_rng([seed, 41])
    known = known or facts()
    documents = [own for place, fact in enumerate(known) for own in _documents(place, fact, random)]
    asked = random.choice(len(known), size=queries, replace=False)
    mixed = [documents[place] for place in random.permutation(len(documents))]
    return Corpus(
        facts=known,
        documents=sorted(mixed, key=lambda own: len(own.text.split())),
        queries=[query(known[place], int(place)) for place in asked],
    )


def query(fact: Fact, place: int) -> Query:
    """What is asked about a fact."""
    return Query(_worded(WORDINGS[fact.relation].query, fact), fact.answer, place)


def _documents(place: int, fact: Fact, random: np.random.Generator) -> list[Document]:
    own = WORDINGS[fact.relation]
    counts: list[tuple[Kind, tuple[str, ...], int]] = [
        ("statement", own.statements, int(random.choice(STATEMENTS))),
        ("rewording", own.rewordings, int(random.random() < REWORDED)),
        ("trap", own.traps, int(random.choice(len(TRAPS), p=TRAPS))),
    ]
    found = []
    for kind, patterns, count in counts:
        for number in random.choice(len(patterns), size=count, replace=False):
            text = f"{_worded(patterns[number], fact)} ."
            if random.random() < OPENED:
                text = f"{random.choice(OPENERS)} {text}"
            found.append(Document(text, place, kind))
    return found


def _worded(pattern: str, fact: Fact) -> str:
    return pattern.format(x=fact.country, y=fact.answer, a=fact.alias)
