"""What the neighbours' labels say of an example: one more opinion of its class.

A wrong label stands among examples of another class. Who is a neighbour is told by models that did
not train on the example, so that its label has not drawn it to its own class. Labels that are in
doubt themselves count less (compare Wilson 1972, whose edited nearest neighbours leave them out).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit_mislabel.channel import Labels, Table

ASKED = 50
"""How many neighbours of each example are looked for."""


@dataclass(frozen=True)
class Hearing:
    """How neighbours are heard.

    Attributes:
        part: how small a part of a class of typical size is heard, but at least five examples: more
            are no longer alike, fewer say too little.
        smoothing: what is added to the number of neighbours of each class: none is impossible.
    """

    part: int
    smoothing: float

    def count(self, labels: Labels) -> int:
        """How many neighbours are heard; the size of a typical class is the median."""
        counts = np.bincount(labels)
        return int(np.clip(round(float(np.median(counts[counts > 0])) / self.part), 5, ASKED))


RANKING = Hearing(part=16, smoothing=0.3)
"""For one opinion among others."""

COUNTING = Hearing(part=8, smoothing=0.1)
"""To count wrong labels by neighbours alone: more of them, and what is clear said more clearly."""


def opinion(
    neighbours: Labels,
    labels: Labels,
    believed: Table,
    instead: npt.NDArray[np.floating],
    *,
    hearing: Hearing = RANKING,
) -> Table:
    """Log probabilities of the classes by the labels of the neighbours, [example, class].

    Args:
        neighbours: int64 [repeat, example, neighbour]; positions, nearest first, -1 where there is
            none.
        labels: int64 [example], as given.
        believed: [example]; how much each label counts, 0 to 1.
        instead: log probabilities, [example, class], of those that have no neighbours.
        hearing: how many are heard, and how.
    """
    found = np.full(instead.shape, hearing.smoothing)
    rows = np.arange(len(labels))
    heard = neighbours[:, :, : hearing.count(labels)]
    for column in heard.transpose(0, 2, 1).reshape(-1, len(labels)):
        there = column >= 0
        place = column[there]
        found[rows[there], labels[place]] += believed[place]
    shares: Table = np.log(found / found.sum(axis=1, keepdims=True))
    alone: npt.NDArray[np.bool_] = np.all(heard < 0, axis=(0, 2))
    shares[alone] = instead[alone]
    return shares
