from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from auditkit import Pool, fingerprint
from auditkit.fingerprint import of_example, of_pool, of_weights, same_examples

IMAGES = np.arange(16, dtype=np.float32).reshape(4, 2, 2)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_a_copy_has_the_same_sum_and_any_changed_bit_another() -> None:
    first = model()
    before = of_weights(first)
    assert of_weights(copy.deepcopy(first)) == before
    first[0].weight.data[0, 0] = torch.nextafter(first[0].weight.data[0, 0], torch.tensor(9.0))
    assert of_weights(first) != before


def test_buffers_count() -> None:
    first, second = model(), model()
    second.train()(torch.ones(4, 3))
    assert of_weights(first) != of_weights(second)


def test_half_precision_weights_have_a_sum_of_their_own() -> None:
    assert of_weights(model().to(torch.bfloat16)) != of_weights(model())


def test_ids_order_and_content_of_a_pool_count() -> None:
    pool = Pool.from_arrays(IMAGES)
    sums = {
        of_pool(pool),
        of_pool(Pool.from_arrays(IMAGES, ids=list("abcd"))),
        of_pool(pool.subset([1, 0, 2, 3])),
        of_pool(pool.subset([0, 1, 2])),
        of_pool(Pool.from_arrays(IMAGES + 1)),
    }
    assert len(sums) == 5
    assert of_pool(pool.subset([0, 1, 2, 3])) == of_pool(pool)


def test_a_tensor_and_an_array_of_the_same_numbers_are_the_same_data() -> None:
    arrays = Pool.from_arrays(IMAGES, np.arange(4))
    tensors = Pool.from_arrays(torch.from_numpy(IMAGES), torch.arange(4))
    strided = Pool.from_arrays(torch.from_numpy(np.asfortranarray(IMAGES)), torch.arange(4))
    assert of_pool(arrays) == of_pool(tensors) == of_pool(strided)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ab", ["a", "b"]),
        (["a", ["b"]], [["a"], "b"]),
        (b"a", "a"),
        (1, 1.0),
        (1, True),
        (None, "None"),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, np.int32), np.zeros(1, np.int64)),
        ({"a": 1}, {"b": 1}),
        (Image.new("L", (2, 2)), Image.new("L", (4, 1))),
    ],
)
def test_different_examples_have_different_sums(one: object, other: object) -> None:
    assert of_example(one) != of_example(other)
    assert of_example(one) == of_example(copy.deepcopy(one))


def test_the_order_of_a_mappings_keys_does_not_count() -> None:
    assert of_example({"a": 1, "b": 2}) == of_example({"b": 2, "a": 1})


def test_what_differs_when_it_is_read_twice_is_found() -> None:
    class Augmented:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, position: int) -> object:
            return torch.rand(3), 0

    assert fingerprint.first_unstable(Pool.from_arrays(IMAGES)) is None
    assert fingerprint.first_unstable(Pool(Augmented(), ids=list("abcde"))) == "a"


def test_pools_of_the_same_examples_are_told_whatever_their_ids() -> None:
    pool = Pool.from_arrays(IMAGES, np.arange(4))
    assert same_examples(pool, pool)
    assert same_examples(pool, Pool.from_arrays(IMAGES.copy(), np.arange(4), ids=list("abcd")))
    for other in (pool.subset([0, 1, 2]), pool.subset([1, 0, 2, 3]), Pool.from_arrays(IMAGES)):
        assert not same_examples(pool, other)


class Thing:
    """An object whose contents nobody knows."""


@pytest.mark.parametrize("around", [lambda x: x, lambda x: {"a": [1, x]}, lambda x: (x, 1)])
def test_objects_known_by_their_type_alone_are_not_told_to_be_the_same(
    around: Callable[[object], object],
) -> None:
    pool = Pool([around(Thing())])
    assert of_pool(pool) == of_pool(Pool([around(Thing())]))
    assert not same_examples(pool, Pool([around(Thing())]))
    assert same_examples(pool, pool)
    assert same_examples(Pool([around(1.5)]), Pool([around(1.5)]))


def test_an_image_file_has_the_sum_of_its_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    image.save(tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as stored:
        assert of_example(stored) == of_example(image)
