"""What a search gives: candidate pairs of an evaluation example and a training example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit_leakage.neighbours import Indices


@dataclass(frozen=True)
class Found:
    """Candidate pairs, by evaluation example, nearest first.

    Attributes:
        evaluation: int64 [pair], positions in the evaluation set.
        train: int64 [pair], positions in the training set.
        kind: how the two differ, in words: "identical", "shift", "crop", "flip", "brightness",
            "noise/compression", "case/punctuation", "truncation", "changed words", "changed cell",
            "rounding", or "near image", "near text", "near row" where no single
            alteration explains it.
        similarity: float64 [pair] in [0, 1], 1 for identical.
        distance: float64 [pair], after the best alignment, over that of the evaluation example's
            usual neighbours: 0 for identical, about 1 for strangers, comparable across examples.
    """

    evaluation: Indices
    train: Indices
    kind: Sequence[str]
    similarity: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.evaluation)

    def nearest(self, count: int) -> Found:
        """At most `count` training examples for each evaluation example, each pair once."""
        order = np.lexsort((self.train, -self.similarity, self.distance, self.evaluation))
        seen: set[tuple[int, int]] = set()
        taken: dict[int, int] = {}
        kept = []
        for place in order.tolist():
            query, known = int(self.evaluation[place]), int(self.train[place])
            if taken.get(query, 0) < count and (query, known) not in seen:
                seen.add((query, known))
                taken[query] = taken.get(query, 0) + 1
                kept.append(place)
        return self.take(np.array(kept, dtype=np.int64))

    def take(self, places: Indices) -> Found:
        """The pairs at `places`, in that order."""
        return Found(
            self.evaluation[places],
            self.train[places],
            [self.kind[place] for place in places],
            self.similarity[places],
            self.distance[places],
        )

    def joined(self, other: Found) -> Found:
        """These pairs, then others."""
        return Found(
            np.concatenate([self.evaluation, other.evaluation]),
            np.concatenate([self.train, other.train]),
            [*self.kind, *other.kind],
            np.concatenate([self.similarity, other.similarity]),
            np.concatenate([self.distance, other.distance]),
        )


def chosen(table: Indices, count: int) -> npt.NDArray[np.bool_]:
    """Which candidates to give: the first `count` of each query.

    Args:
        table: int64 [query, candidate], best first; -1 for none.
        count: how many to give.
    """
    return (np.arange(table.shape[1]) < count) & (table >= 0)


def once(table: Indices) -> Indices:
    """The rows of a table sorted, repeated entries as -1."""
    ordered = np.sort(table, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    return ordered


def identical_pairs(evaluation: Indices, train: Indices) -> Found:
    """Pairs of identical content."""
    count = len(evaluation)
    return Found(evaluation, train, ["identical"] * count, np.ones(count), np.zeros(count))
