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


@pytest.mark.parametrize(
    ("example", "like"),
    [
        ((1.0, 2.0), {"x": 0.0, "label": 1}),
        ({"x": 1.0}, (0.0, 1)),
        ({"x": 1.0, "y": 2}, {"x": 0.0, "label": 1}),
        ((1.0, 2.0, 3.0), (0.0, 1)),
        (1.0, (0.0, 0.0, 1)),
    ],
)
def test_examples_of_another_form_are_refused(example: object, like: object) -> None:
    with pytest.raises(errors.PoolError, match="in one form"):
        labelled(Pool(Items([example])), np.array([5]), like=like)
    mixed = labelled(Pool(Items([like, example])), np.array([5, 5]), like=like)
    with pytest.raises(errors.PoolError, match="in one form"):
        mixed[1]


@pytest.mark.parametrize("labels", [np.array([1, 2]), np.arange(4), np.array(1)])
def test_there_is_one_label_per_example(labels: np.ndarray) -> None:
    with pytest.raises(errors.PoolError, match="labels for 3 examples: give one label per example"):
        labelled(Pool.from_arrays(IMAGES), labels, like=(IMAGES[0], 1))


@pytest.mark.parametrize(
    "own", ["no", np.str_("no"), np.array("no"), np.array(["no"]), b"no", ["no"]]
)
@pytest.mark.parametrize("dtype", [None, object])
def test_a_text_stays_whole(own: object, dtype: type | None) -> None:
    text = b"perhaps" if isinstance(own, bytes) else "perhaps"
    pool = labelled(Pool.from_arrays(IMAGES), np.array([text] * 3, dtype), like=(IMAGES[0], own))
    label = pool[2][1]  # type: ignore[index]
    assert np.ravel(label).tolist() == [text]
    if not isinstance(own, np.ndarray):
        assert type(label) is type(own)
    rows = pool.dataset.rows(np.array([2, 0]))  # type: ignore[attr-defined]
    assert np.ravel(rows[1]).tolist() == [text] * 2


@pytest.mark.parametrize(
    ("label", "own", "said"),
    [
        (2.7, 1, "2.7 would become 2 in"),
        (2.7, np.int64(1), "2.7 would become 2 in"),
        (2.7, torch.tensor(1), r"2.7 would become 2 in .*torch\.int64"),
        (float("nan"), 1, "nan would become"),
        (300, np.uint8(1), "300 would become 44 in"),
        (300, torch.tensor(1, dtype=torch.uint8), "300 would become 44 in"),
        (2, True, "2 would become True in"),
        (1e300, np.float32(1), "1e.300 would become inf in"),
        (2**24 + 1, np.float32(1), "16777217 would become 16777216.0 in"),
        ("yes", 1, "yes is a text, and the label in `like` is a number"),
        (1, "no", "1 is a number, and the label in `like` is a text"),
        (None, 1, "None is of another kind, and the label in `like` is a number"),
        ([1, 2], 1, r"shape \[2\] each, and the label in `like` has \[\]"),
        (1, [0, 1], r"shape \[\] each, and the label in `like` has \[2\]"),
    ],
)
def test_a_label_that_would_become_another_is_refused(
    label: object, own: object, said: str
) -> None:
    with pytest.raises(errors.PoolError, match=said):
        labelled(Pool(["a"]), np.array([label]), like=("b", own))


@pytest.mark.parametrize(
    ("label", "own", "expected"),
    [
        (2.0, 1, 2),
        (1, True, True),
        (0.1, np.float32(1), np.float32(0.1)),
        (0.1, torch.tensor(1.0), torch.tensor(0.1)),
        (np.float32(2), torch.tensor(1, dtype=torch.int32), torch.tensor(2, dtype=torch.int32)),
        ([1, 0], [0, 1], [1, 0]),
        ([1, 0], (0, 1), (1, 0)),
        (3, None, 3),
    ],
)
def test_a_label_takes_the_type_that_it_has_in_like(
    label: object, own: object, expected: object
) -> None:
    found = labelled(Pool(["a"]), np.array([label]), like=("b", own))[0][1]  # type: ignore[index]
    assert type(found) is type(expected)
    assert found == expected
    assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
