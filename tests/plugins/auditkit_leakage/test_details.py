from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from auditkit_leakage import altering
from auditkit_leakage.details import Detailed, detailed
from auditkit_leakage.registration import Parts
from PIL import Image

Bytes = npt.NDArray[np.uint8]


def laid(train: Bytes, queries: Bytes, *, flipped: bool = False) -> Detailed:
    count = len(queries)
    places = np.arange(count)
    parts = Parts(np.zeros((count, 2), np.float32), np.ones((count, 2), np.float32))
    return detailed(train, queries, (places, places), parts, np.full(count, flipped))


def test_a_copy_shows_all_details(photographs: Bytes) -> None:
    found = laid(photographs, photographs)
    assert found.details.max() < 0.12  # there are plain ones
    assert found.unlike.max() < 0.01
    np.testing.assert_allclose(found.parts.size, 1, atol=0.01)
    np.testing.assert_allclose(found.angle, 0, atol=0.2)


def test_neighbouring_parts_of_one_photograph_do_not(photographs: Bytes) -> None:
    found = laid(photographs[:-1], photographs[1:])
    assert np.median(found.details) > 0.8
    assert found.details.min() > 0.3


@pytest.mark.parametrize("alter", [altering.noisy, altering.compressed, altering.brightened])
def test_copies_keep_most_details(photographs: Bytes, alter: object) -> None:
    assert callable(alter)
    random = np.random.default_rng(2)
    queries = np.stack([alter(image, random) for image in photographs])
    found = laid(photographs, queries)
    assert np.median(found.details) < 0.05
    assert np.quantile(found.details, 0.9) < 0.3


def test_a_turn_is_undone_and_told(photographs: Bytes) -> None:
    turned = np.stack([np.asarray(Image.fromarray(image).rotate(3)) for image in photographs])
    found = laid(photographs, turned)
    there = found.details < 0.2
    assert there.mean() > 0.6
    np.testing.assert_allclose(np.abs(found.angle[there]), 3, atol=0.7)


def test_a_mirrored_query_is_turned_back(photographs: Bytes) -> None:
    mirrored = np.ascontiguousarray(photographs[:, :, ::-1])
    assert laid(photographs, mirrored, flipped=True).details.max() < 0.12
    assert np.median(laid(photographs, mirrored).details) > 0.5
