from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from auditkit import Pool
from auditkit.batches import batches, collate, every, sliced, to_device
from auditkit.pool import Positions

CPU = torch.device("cpu")


class Items:
    """A data set without `rows`."""

    def __init__(self, items: list[object]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> object:
        return self.items[position]


def test_batches_come_in_the_order_asked_for_and_the_last_may_be_short() -> None:
    pool = Pool.from_arrays(torch.arange(10) * 1.5, torch.arange(10))
    places = np.array([9, 1, 1, 4, 0])
    found = list(batches(pool, places, batch_size=2, device=CPU))
    assert [where.tolist() for where, _ in found] == [[9, 1], [1, 4], [0]]
    assert [labels.tolist() for _, (_, labels) in found] == [[9, 1], [1, 4], [0]]
    assert found[0][1][0].tolist() == [13.5, 1.5]


def test_every_is_every_position() -> None:
    assert every(Pool.from_arrays(torch.zeros(4))).tolist() == [0, 1, 2, 3]


def test_whole_batches_are_asked_for_where_the_data_set_has_them() -> None:
    asked: list[list[int]] = []

    class Stacked(Items):
        def rows(self, positions: Positions) -> tuple[object, ...]:
            asked.append(positions.tolist())
            return (np.array([self.items[place] for place in positions]),)

        def __getitem__(self, position: int) -> object:
            raise AssertionError

    batch = collate(Pool(Stacked([5.0, 6.0, 7.0])), np.array([2, 0]), device=CPU)
    assert torch.equal(batch, torch.tensor([7.0, 5.0]).double())
    assert asked == [[2, 0]]


def test_rows_and_items_give_the_same_batch() -> None:
    inputs, labels = np.random.default_rng(0).random((6, 3), dtype=np.float32), np.arange(6)
    stacked = Pool.from_arrays(inputs, labels)
    single = Pool(Items(list(zip(inputs, labels, strict=True))))
    for places in (np.array([5, 2]), np.array([0])):
        for one, other in zip(
            collate(stacked, places, device=CPU), collate(single, places, device=CPU), strict=True
        ):
            assert torch.equal(one, other)
            assert one.dtype == other.dtype


def test_a_batch_of_rows_is_no_view_of_the_data() -> None:
    inputs = np.zeros((4, 2), dtype=np.float32)
    collate(Pool.from_arrays(inputs), np.array([0, 1]), device=CPU).add_(1)
    assert not inputs.any()


class Pair(NamedTuple):
    image: torch.Tensor
    label: int


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([(torch.ones(2), 3), (torch.zeros(2), 4)], (torch.tensor([[1.0, 1], [0, 0]]), [3, 4])),
        ([[1.5, 2], [2.5, 3]], ([1.5, 2.5], [2, 3])),
        ([{"x": 1.0, "id": "a"}, {"x": 2.0, "id": "b"}], {"x": [1.0, 2.0], "id": ("a", "b")}),
        ([((1, 2), 3), ((4, 5), 6)], (([1, 4], [2, 5]), [3, 6])),
    ],
    ids=["tuples", "lists", "mappings", "nested"],
)
def test_items_are_collated_by_their_form(items: list[object], expected: object) -> None:
    def same(found: object, wanted: object) -> bool:
        if isinstance(found, torch.Tensor):
            return bool((found == torch.as_tensor(wanted)).all())
        if isinstance(found, dict):
            return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in found)
        if isinstance(found, tuple):
            return all(same(one, other) for one, other in zip(found, wanted, strict=True))
        return found == wanted

    assert same(collate(Pool(Items(items)), np.arange(2), device=CPU), expected)


def test_named_tuples_keep_their_names() -> None:
    batch = collate(
        Pool(Items([Pair(torch.ones(2), 1), Pair(torch.zeros(2), 0)])), np.arange(2), device=CPU
    )
    assert batch.label.tolist() == [1, 0]
    assert batch.image.shape == (2, 2)


def test_what_is_no_tensor_stays() -> None:
    batch = {"text": "abc", "raw": b"\x00", "none": None, "x": torch.ones(1)}
    assert to_device(batch, CPU) == batch


def test_a_part_of_a_batch_has_its_texts_too() -> None:
    batch = {"x": torch.arange(3), "pair": [("a", "b", "c"), ["d", "e", "f"]], "name": ["g"] * 3}
    found = sliced(batch, slice(1, 2))
    assert found["x"].tolist() == [1]
    assert [list(part) for part in found["pair"]] == [["b"], ["e"]]
    assert found["name"] == ["g"]
