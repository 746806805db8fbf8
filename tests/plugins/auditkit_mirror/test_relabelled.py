from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from auditkit_mirror.relabelled import relabelled

from auditkit import Pool, errors


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
    pool = relabelled(Pool(Items([(np.zeros(2), label), (np.ones(2), label)])), np.array([5, 6]))
    example = pool[1]
    assert isinstance(example, tuple)
    assert type(example[1]) is type(label)
    assert getattr(example[1], "shape", None) == getattr(label, "shape", None)
    assert float(np.asarray(example[1]).item()) == 6
    assert example[0].tolist() == [1, 1]


def test_a_mapping_has_its_label_exchanged() -> None:
    pool = relabelled(Pool(Items([{"x": 1.0, "labels": 2}])), np.array([7]))
    assert pool[0] == {"x": 1.0, "labels": 7}


def test_many_rows_come_as_the_rows_one_by_one() -> None:
    values, labels = np.arange(12.0).reshape(6, 2), np.arange(6)
    pool = relabelled(Pool.from_arrays(values, labels), 10 + labels)
    places = np.array([4, 1])
    inputs, targets = pool.dataset.rows(places)  # type: ignore[attr-defined]
    assert inputs.tolist() == [values[4].tolist(), values[1].tolist()]
    assert targets.tolist() == [14, 11] == [pool[4][1], pool[1][1]]  # type: ignore[index]
    assert targets.dtype == labels.dtype


def test_ids_stay() -> None:
    pool = Pool.from_arrays(np.zeros((2, 1)), np.zeros(2, dtype=int), ids=["a", "b"])
    assert relabelled(pool, np.array([1, 1])).ids == ("a", "b")


def test_examples_whose_label_nobody_can_tell_are_refused() -> None:
    with pytest.raises(errors.PoolError, match="labels of Tensor examples cannot be exchanged"):
        relabelled(Pool.from_arrays(torch.zeros(3, 2)), np.zeros(3))
