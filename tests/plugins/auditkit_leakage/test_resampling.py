from __future__ import annotations

import numpy as np
from auditkit_leakage.resampling import background, blur, grey, to_planes, window, working_side


def test_the_whole_window_changes_nothing() -> None:
    np.testing.assert_allclose(window(9, start=0, length=9), np.eye(9), atol=1e-6)


def test_a_window_by_whole_pixels_shifts() -> None:
    ramp = np.arange(1.0, 11.0)
    assert (window(10, start=2, length=10) @ ramp).tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 0, 0]


def test_linear_ramps_survive_stretching() -> None:
    ramp = np.arange(20.0)
    stretched = window(20, start=4, length=10) @ ramp
    expected = 4 + (np.arange(20) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(stretched, expected, atol=1e-5)
    halved = window(20, start=0, length=20, out=10) @ ramp
    np.testing.assert_allclose(halved[1:-1], 2 * np.arange(1, 9) + 0.5, atol=1e-5)


def test_a_blur_keeps_constants() -> None:
    np.testing.assert_allclose(blur(12, 1.5) @ np.ones(12), 1, atol=1e-6)


def test_working_size_and_planes() -> None:
    assert working_side(np.zeros((2, 28, 20), np.uint8)) == 28
    assert working_side((np.zeros((3, 3), np.uint8), np.zeros((500, 9), np.uint8))) == 32
    assert working_side(np.zeros((1, 1, 1), np.uint8)) == 8
    mixed = to_planes((np.full((5, 5), 9, np.uint8), np.full((4, 6, 3), 7, np.uint8)), 8)
    assert mixed.shape == (2, 3, 8, 8)
    assert (mixed[0] == 9).all()
    assert (mixed[1] == 7).all()


def test_the_background_is_what_most_of_the_border_is() -> None:
    planes = np.full((4, 1, 8, 8), 200, np.uint8)
    planes[:, :, 2:6, 2:6] = 20
    planes[0, :, 0] = 0
    assert background(planes) == 200
    assert grey(planes, 200.0)[1, 3, 3] == -180
