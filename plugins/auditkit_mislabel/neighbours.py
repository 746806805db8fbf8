"""What the neighbours' labels say of an example: one more opinion of its class.

A wrong label stands among examples of another class. Who is a neighbour is told by models that did
not train on the example, so that its label has not drawn it to its own class. Labels that are in
doubt themselves count less (compare Wilson 1972, whose edited nearest neighbours leave them out).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from auditkit_mislabel.channel import Labels, Table

ASKED = 50
"""How many neighbours of each example are looked for."""

_PART = 16
"""So small a part of a class of typical size is heard as neighbours, but at least five examples:
more are no longer alike, fewer say too little."""

_SMOOTHING = 0.3
"""What is added to the number of neighbours of each class: none is impossible."""


def opinion(
    neighbours: Labels, labels: Labels, believed: Table, instead: npt.NDArray[np.floating]
) -> Table:
    """Log probabilities of the classes by the labels of the neighbours, [example, class].

    Args:
        neighbours: int64 [repeat, example, neighbour]; positions, nearest first, -1 where there is
            none.
        labels: int64 [example], as given.
        believed: [example]; how much each label counts, 0 to 1.
        instead: log probabilities, [example, class], of those that have no neighbours.
    """
    found = np.full(instead.shape, _SMOOTHING)
    rows = np.arange(len(labels))
    heard = neighbours[:, :, : heard_of(labels)]
    for column in heard.transpose(0, 2, 1).reshape(-1, len(labels)):
        there = column >= 0
        place = column[there]
        found[rows[there], labels[place]] += believed[place]
    shares: Table = np.log(found / found.sum(axis=1, keepdims=True))
    alone: npt.NDArray[np.bool_] = np.all(heard < 0, axis=(0, 2))
    shares[alone] = instead[alone]
    return shares


def heard_of(labels: Labels) -> int:
    """How many of the neighbours are heard: a part of a class of typical (median) size."""
    counts = np.bincount(labels)
    return int(np.clip(round(float(np.median(counts[counts > 0])) / _PART), 5, ASKED))
