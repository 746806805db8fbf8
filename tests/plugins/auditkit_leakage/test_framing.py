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


def test_at_most_a_quarter_is_a_margin_and_a_plain_image_has_none() -> None:
    half = np.zeros((40, 40), np.uint8)
    half[20:] = np.random.default_rng(0).integers(0, 255, (20, 40))
    plain = np.full((40, 40, 3), 8, np.uint8)
    found = framed((half, plain), trim=True)
    assert found.images[0].shape == (40, 40)
    assert found.images[1].shape == (40, 40, 3)


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
