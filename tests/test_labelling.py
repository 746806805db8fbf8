from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from auditkit import Pool, errors, labelled, lacks_labels


class Items:
    """A data set of examples as they are."""

    def __init__(self, examples: Sequence[object]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, position: int) -> object:
        return self.examples[position]


@pytest.mark.parametrize(
    "label", [3, 3.0, np.int64(3), np.array([3.0], dtype=np.float32), torch.tensor(3)]
)
def test_a_label_keeps_its_type_and_shape(label: object) -> None:
    pool = labelled(Pool(Items([(np.zeros(2), label), (np.ones(2), label)])), np.array([5, 6]))
    example = pool[1]
    assert isinstance(example, tuple)
    assert type(example[1]) is type(label)
    assert getattr(example[1], "shape", None) == getattr(label, "shape", None)
    assert float(np.asarray(example[1]).item()) == 6
    assert example[0].tolist() == [1, 1]


def test_a_mapping_has_its_label_exchanged() -> None:
    pool = labelled(Pool(Items([{"x": 1.0, "labels": 2}])), np.array([7]))
    assert pool[0] == {"x": 1.0, "labels": 7}


def test_many_rows_come_as_the_rows_one_by_one() -> None:
    values, labels = np.arange(12.0).reshape(6, 2), np.arange(6)
    pool = labelled(Pool.from_arrays(values, labels), 10 + labels)
    places = np.array([4, 1])
    inputs, targets = pool.dataset.rows(places)  # type: ignore[attr-defined]
    assert inputs.tolist() == [values[4].tolist(), values[1].tolist()]
    assert targets.tolist() == [14, 11] == [pool[4][1], pool[1][1]]  # type: ignore[index]
    assert targets.dtype == labels.dtype


def test_ids_stay() -> None:
    pool = Pool.from_arrays(np.zeros((2, 1)), np.zeros(2, dtype=int), ids=["a", "b"])
    assert labelled(pool, np.array([1, 1])).ids == ("a", "b")


def test_examples_whose_label_nobody_can_tell_are_refused() -> None:
    with pytest.raises(errors.PoolError, match="labels of Tensor examples cannot be exchanged"):
        labelled(Pool.from_arrays(torch.zeros(3, 2)), np.zeros(3))


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
    example = labelled(bare, labels, like=(IMAGES[0], torch.tensor(1)))[0]
    assert isinstance(example, tuple)
    assert example[1] == 2
    assert np.asarray(example[1]).dtype == np.int64
    mapped = labelled(Pool([{"x": 1}]), labels[:1], like={"x": 0, "target": 1.0})
    assert mapped[0] == {"x": 1, "target": 2.0}
    pairs = labelled(Pool([("a", 1)]), labels[:1], like=("b", 2, 3))
    assert pairs[0] == ("a", 1, 2)
    assert labelled(bare, labels, like=(IMAGES[0], 1)).ids == ("a", "b", "c")
