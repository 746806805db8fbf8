from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from auditkit_leakage.registration import Compared, Parts, Registration
from auditkit_leakage.resampling import window

Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def aligned(queries: npt.NDArray[np.uint8], train: npt.NDArray[np.uint8], begin: float) -> Compared:
    count = len(queries)
    places = np.arange(count)
    parts = Parts(
        np.full((count, 2), begin, np.float32), np.full((count, 2), 1 - 2 * begin, np.float32)
    )
    registration = Registration(queries[:, None], train[:, None])
    first = registration.aligned((places, places), parts, steps=1)
    return registration.aligned((places, places), first.parts, steps=2)


def test_an_image_as_it_lies_is_compared_without_moving(fashion_mnist: Images) -> None:
    train = fashion_mnist[0][:20, None]
    places = np.arange(20)
    parts = Parts(np.full((20, 2), 1 / 28, np.float32), np.ones((20, 2), np.float32))
    moved = np.roll(train, -1, axis=(2, 3))
    registration = Registration(moved, train)
    assert registration.compared((places, places), parts).unlike.max() < 0.05
    nowhere = Parts(np.zeros((20, 2), np.float32), np.ones((20, 2), np.float32))
    assert np.median(registration.compared((places, places), nowhere).unlike) > 0.02


def test_a_copy_is_explained_altogether(fashion_mnist: Images) -> None:
    train = fashion_mnist[0][:50]
    found = aligned(train, train, 0)
    assert found.unlike.max() < 1e-3
    np.testing.assert_allclose(found.contrast, 1, atol=0.02)


def test_part_contrast_and_brightness_of_a_crop_come_out(fashion_mnist: Images) -> None:
    train = fashion_mnist[0][:60]
    rows, columns = window(28, start=1.3, length=25), window(28, start=2.1, length=24)
    queries = (0.6 * (rows @ train.astype(np.float32) @ columns.T) + 30).round().astype(np.uint8)
    found = aligned(queries, train, 1 / 28)
    good = found.unlike < np.median(found.unlike) * 5
    assert good.mean() > 0.8
    assert np.median(found.contrast) == pytest.approx(0.6, abs=0.03)
    assert np.median(found.brightness) == pytest.approx(30, abs=3)
    assert np.median(found.parts.start[:, 0]) * 28 == pytest.approx(1.3, abs=0.4)
    assert np.median(found.parts.size[:, 1]) * 28 == pytest.approx(24, abs=0.5)


def test_another_image_stays_unexplained(fashion_mnist: Images) -> None:
    train = fashion_mnist[0]
    copies, strangers = aligned(train[:50], train[:50], 0), aligned(train[:50], train[50:100], 0)
    assert np.median(strangers.unlike) > 100 * np.median(copies.unlike)


def test_noise_counts_for_little(fashion_mnist: Images) -> None:
    train = fashion_mnist[0][:50]
    noise = np.random.default_rng(0).normal(0, 15, train.shape)
    noisy = np.clip(train + noise, 0, 255).astype(np.uint8)
    share = 15**2 / train.reshape(50, -1).astype(float).var(axis=1)
    assert np.median(aligned(noisy, train, 0).unlike / share) < 0.25


def test_nothing_explains_a_constant_and_a_constant_explains_nothing() -> None:
    flat = np.full((1, 16, 16), 90, np.uint8)
    image = np.random.default_rng(1).integers(0, 256, (1, 16, 16), dtype=np.uint8)
    for pair in ((image, flat), (flat, image), (flat, flat)):
        found = aligned(*pair, 0)
        assert np.isfinite(found.unlike).all()
        assert np.isfinite(found.parts.start).all()
