from __future__ import annotations

import numpy as np
from auditkit_leakage.duplicates import clusters, duplicates_frame


def test_pairs_connect_examples_into_clusters() -> None:
    found = clusters(6, np.array([0, 4, 1]), np.array([2, 5, 2]))
    assert found[0] == found[1] == found[2]
    assert found[4] == found[5]
    assert len({found[0], found[3], found[4]}) == 3


def test_the_largest_cluster_comes_first_and_conflicts_are_said() -> None:
    frame = duplicates_frame(
        np.array([7, 1, 7, 2, 1, 1]), "abcdef", ["cat", "dog", "cow", "cat", "dog", None]
    )
    assert frame["example_id"].to_list() == ["b", "e", "f", "a", "c"]
    assert frame["cluster"].to_list() == [1, 1, 1, 2, 2]
    assert frame["conflicting"].to_list() == [False, False, False, True, True]
    bare = duplicates_frame(np.array([0, 0]), "ab", None)
    assert bare["label"].to_list() == [None, None]
    assert not bare["conflicting"].any()
    assert duplicates_frame(np.array([0, 1]), "ab", None).height == 0
