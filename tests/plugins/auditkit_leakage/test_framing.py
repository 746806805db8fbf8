from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from auditkit_leakage.framing import framed, in_whole
from auditkit_leakage.registration import Parts

Bytes = npt.NDArray[np.uint8]


def test_a_margin_of_any_colour_is_left_out(photographs: Bytes) -> None:
    image = photographs[0]
    padded = np.pad(image, ((7, 0), (0, 3), (0, 0)), constant_values=90)
    found = framed((padded, image), trim=True)
    np.testing.assert_array_equal(found.images[0], image[1:, :-1])
    np.testing.assert_allclose(found.boxes[0], [[8 / 107, 99 / 107], [0, 99 / 103]])
    np.testing.assert_allclose(found.boxes[1], [[0, 1], [0, 1]])


@pytest.mark.parametrize(("empty", "left"), [(9, 30), (10, 40), (20, 40)])
def test_a_margin_wider_than_a_quarter_stays_whole(empty: int, left: int) -> None:
    """Of 40 rows, nine empty ones and the one after them are a quarter."""
    image = np.zeros((40, 40), np.uint8)
    image[empty:] = np.random.default_rng(0).integers(50, 255, (40 - empty, 40))
    assert framed((image,), trim=True).images[0].shape == (left, 40)


def test_a_plain_image_has_no_margin() -> None:
    plain = np.full((40, 40, 3), 8, np.uint8)
    assert framed((plain,), trim=True).images[0].shape == (40, 40, 3)


def test_nothing_is_left_out_unless_asked_for(photographs: Bytes) -> None:
    padded = np.pad(photographs, ((0, 0), (9, 9), (9, 9), (0, 0)))
    assert framed(padded, trim=False).images is padded


@pytest.mark.parametrize("moved", [0.0, 0.1])
def test_parts_of_the_whole(moved: float) -> None:
    """A query that is the whole original, moved down by `moved`, and trimmed of what came in."""
    parts = Parts(np.array([[0, 0]], np.float32), np.array([[1 - moved, 1]], np.float32))
    boxes = np.array([[[moved, 1 - moved], [0, 1]]])
    whole = in_whole(parts, np.array([[[0, 1.0], [0, 1]]]), boxes)
    np.testing.assert_allclose(whole.size, [[1, 1]], atol=1e-6)
    np.testing.assert_allclose(whole.start, [[-moved, 0]], atol=1e-6)
