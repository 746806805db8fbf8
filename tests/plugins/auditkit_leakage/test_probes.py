from __future__ import annotations

import numpy as np
import numpy.typing as npt
from auditkit_leakage.probes import Grid, grid
from auditkit_leakage.resampling import window

Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def test_the_grid_stays_within_the_image_where_it_is_a_crop() -> None:
    places = grid(28)
    assert (places[:, 2].max(), places[places[:, :2].sum(axis=1) == 0][0, 2]) == (1.0, 1.0)
    crops = places[places[:, 2] < 1]
    assert (crops[:, :2] >= 0).all()
    assert (crops[:, :2] + crops[:, 2:] <= 1 + 1e-9).all()


def test_where_a_query_lies_is_found(fashion_mnist: Images) -> None:
    train = fashion_mnist[0][:200].astype(np.float32)
    rows, columns = window(28, start=2, length=24), window(28, start=3, length=24)
    queries = (rows @ train[:20] @ columns.T)[:, :, ::-1]
    candidates = np.broadcast_to(np.arange(200), (20, 200))
    placed = Grid(train).place(queries, candidates, keep=3)
    right = placed.train[:, 0] == np.arange(20)
    assert right.mean() >= 0.85
    assert placed.flipped[right, 0].mean() >= 0.7  # some garments are their own mirror image
    there = right & placed.flipped[:, 0]
    assert np.abs(placed.top[there, 0] * 28 - 2).mean() < 1
    assert np.abs(placed.left[there, 0] * 28 - 3).mean() < 1
    assert (np.diff(placed.similarity, axis=1) <= 0).all()


def test_missing_candidates_come_last() -> None:
    images = np.random.default_rng(0).normal(0, 50, (3, 12, 12)).astype(np.float32)
    candidates = np.array([[-1, 2, 0]])
    placed = Grid(images).place(images[2:], candidates, keep=3)
    assert placed.train.tolist() == [[2, 0, -1]]


def test_a_mirror_image_lies_where_its_mirror_image_would(fashion_mnist: Images) -> None:
    train = fashion_mnist[0][:300].astype(np.float32)
    laid = Grid(train)
    candidates = np.broadcast_to(np.arange(300), (30, 300))
    queries = fashion_mnist[0][300:330].astype(np.float32)
    straight = laid.place(queries, candidates, keep=5)
    mirrored = laid.place(queries[:, :, ::-1], candidates, keep=5)
    np.testing.assert_allclose(straight.similarity, mirrored.similarity, rtol=1e-3)
    assert straight.similarity.max() <= 1 + 1e-3


def test_tiny_images_are_found_mirrored_too() -> None:
    train = np.random.default_rng(1).uniform(0, 255, (200, 8, 8)).astype(np.float32)
    candidates = np.broadcast_to(np.arange(200), (40, 200))
    placed = Grid(train).place(train[:40, :, ::-1], candidates, keep=2)
    np.testing.assert_array_equal(placed.train[:, 0], np.arange(40))
    assert placed.flipped[:, 0].all()
