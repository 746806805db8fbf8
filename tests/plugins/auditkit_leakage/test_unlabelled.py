from __future__ import annotations

import numpy as np
import pytest
import torch
from auditkit_leakage.unlabelled import lacks_labels, with_labels

from auditkit import Pool

IMAGES = np.zeros((3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("train", "evaluation", "expected"),
    [
        (Pool.from_arrays(IMAGES, np.arange(3)), Pool.from_arrays(IMAGES), True),
        (Pool.from_arrays(IMAGES, np.arange(3)), Pool.from_arrays(IMAGES, np.arange(3)), False),
        (Pool([("a", 1, 0)]), Pool([("a", 1)]), True),
        (Pool([{"x": 1, "label": 0}]), Pool([{"x": 1}]), True),
        (Pool([{"x": 1, "label": 0}]), Pool([{"x": 1, "label": 1}]), False),
        (Pool([{"x": 1}]), Pool([{"x": 1}]), False),
        (Pool.from_arrays(IMAGES), Pool.from_arrays(IMAGES), False),
    ],
)
def test_missing_labels_are_seen_by_the_form(train: Pool, evaluation: Pool, expected: bool) -> None:
    assert lacks_labels(train, evaluation) is expected


def test_labels_take_the_place_and_type_they_have_in_training() -> None:
    bare = Pool.from_arrays(IMAGES, ids=["a", "b", "c"])
    labels = np.array([2, 0, 1])
    example = with_labels(bare, labels, like=(IMAGES[0], torch.tensor(1)))[0]
    assert isinstance(example, tuple)
    assert example[1] == 2
    assert np.asarray(example[1]).dtype == np.int64
    mapped = with_labels(Pool([{"x": 1}]), labels[:1], like={"x": 0, "target": 1.0})
    assert mapped[0] == {"x": 1, "target": 2.0}
    pairs = with_labels(Pool([("a", 1)]), labels[:1], like=("b", 2, 3))
    assert pairs[0] == ("a", 1, 2)
    assert with_labels(bare, labels, like=(IMAGES[0], 1)).ids == ("a", "b", "c")
