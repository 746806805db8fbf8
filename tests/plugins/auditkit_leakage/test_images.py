from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from auditkit_leakage import altering, images
from auditkit_leakage.images import find_images
from PIL import Image

Bytes = npt.NDArray[np.uint8]
Images = tuple[Bytes, npt.NDArray[np.uint8]]

TRAIN = 3_000
COUNT = 40


@pytest.fixture(scope="module")
def train(fashion_mnist: Images) -> Bytes:
    return fashion_mnist[0][:TRAIN]


@pytest.mark.parametrize(
    ("alter", "kind", "share"),
    [
        (altering.shifted, "shift", 0.95),
        (altering.cropped, "crop", 0.85),
        (altering.flipped, "flip", 1.0),
        (altering.brightened, "brightness", 1.0),
        (altering.compressed, "noise/compression", 1.0),
        (altering.noisy, "noise/compression", 0.9),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_altered_image_leads_to_its_original(
    train: Bytes,
    alter: Callable[[Bytes, np.random.Generator], Bytes],
    kind: str,
    share: float,
) -> None:
    random = np.random.default_rng(1)
    places = random.permutation(TRAIN)[:COUNT]
    queries = np.stack([alter(train[place], random) for place in places])
    found = find_images(train, queries, neighbours=1)
    np.testing.assert_array_equal(found.evaluation, np.arange(COUNT))
    right = found.train == places
    assert right.mean() >= share
    named = np.array([kind in words for words in found.kind])
    assert named[right].mean() >= 0.7
    assert np.median(found.distance[right]) < 0.1


def test_strangers_are_found_too_and_are_far(fashion_mnist: Images, train: Bytes) -> None:
    strangers = fashion_mnist[0][50_000:50_100]
    found = find_images(train, strangers, neighbours=3)
    np.testing.assert_array_equal(np.unique(found.evaluation), np.arange(100))
    first = np.searchsorted(found.evaluation, np.arange(100))
    assert np.median(found.distance[first]) > 0.3
    assert (np.diff(found.distance)[found.evaluation[1:] == found.evaluation[:-1]] >= 0).all()


def test_distances_do_not_depend_on_the_other_queries(train: Bytes) -> None:
    few, queries = train[:600], train[:30, :, ::-1]
    whole, part = find_images(few, queries), find_images(few, queries[:10])
    first = whole.evaluation < 10
    np.testing.assert_array_equal(whole.train[first], part.train)


def test_a_pool_against_itself_pairs_no_image_with_itself(train: Bytes) -> None:
    few = np.concatenate([train[:300], train[:5, :, ::-1]])
    found = find_images(few, few, same_pool=True, neighbours=2)
    assert (found.evaluation != found.train).all()
    first = np.searchsorted(found.evaluation, np.arange(300, 305))
    np.testing.assert_array_equal(found.train[first], np.arange(5))


def test_colour_tells_apart_what_is_alike_in_grey() -> None:
    random = np.random.default_rng(3)
    base = np.repeat(random.integers(0, 256, (30, 12, 12, 1), dtype=np.uint8), 3, axis=3)
    train = base.copy()
    train[..., 0] = np.roll(base[..., 1], 3, axis=1)
    queries = train[:4].copy()
    queries[:2] = 255 - queries[:2]
    found = find_images(train, queries, neighbours=1)
    assert (found.train[2:] == [2, 3]).all()
    assert found.distance[2:].max() < 0.05 < found.distance[:2].min()


@pytest.mark.parametrize("level", [0, 17, 255])
def test_constant_images_are_near_nothing(train: Bytes, level: int) -> None:
    constant = np.full((3, 28, 28), level, dtype=np.uint8)
    found = find_images(train[:500], constant)
    assert np.isfinite(found.distance).all()
    assert found.similarity.max() < 0.5
    alone = find_images(constant, constant, same_pool=True)
    assert np.isfinite(alone.distance).all()


def test_tiny_single_and_unequal_images_are_no_trouble(train: Bytes) -> None:
    one = np.zeros((5, 1, 1), dtype=np.uint8)
    assert len(find_images(one, one, neighbours=1)) == 5
    single = find_images(train[:1], train[:2], neighbours=3)
    assert single.train.tolist() == [0, 0]
    unequal = (train[0], train[1, :20, :24], np.zeros((40, 9, 3), dtype=np.uint8))
    found = find_images(unequal, (train[1, :20, :24], train[0]), neighbours=1)
    assert found.train.tolist() == [1, 0]
    assert found.distance.max() < 0.01
    colour = tuple(np.repeat(image[..., None], 3, axis=2) for image in train[:2])
    assert find_images((train[1], train[0]), colour, neighbours=1).train.tolist() == [1, 0]


def _few(image: Bytes, random: np.random.Generator) -> Bytes:
    """Moved by one to three pixels along each axis; what comes in is white."""
    down, right = (int(move) for move in random.integers(1, 4, 2))
    moved = np.full_like(image, 255)
    moved[down:, :-right] = image[:-down, right:]
    return moved


def _halved(image: Bytes, _random: np.random.Generator) -> Bytes:
    return np.asarray(Image.fromarray(image).resize((70, 70), Image.Resampling.LANCZOS))


@pytest.mark.parametrize(
    ("alter", "kind"),
    [
        (_few, "shift"),
        (altering.shifted, "shift"),
        (altering.cropped, "crop"),
        (altering.flipped, "flip"),
        (altering.brightened, "brightness"),
        (altering.compressed, "noise/compression"),
        (altering.noisy, "noise/compression"),
        (_halved, "noise/compression"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_altered_photograph_leads_to_its_original(
    photographs: Bytes, alter: Callable[[Bytes, np.random.Generator], Bytes], kind: str
) -> None:
    random = np.random.default_rng(4)
    train, strangers = photographs[::2], photographs[1::2]
    copies = tuple(alter(image, random) for image in train)
    found = find_images(train, (*copies, *strangers), neighbours=1)
    own, other = found.distance[: len(train)], found.distance[len(train) :]
    right = found.train[: len(train)] == np.arange(len(train))
    assert right.mean() >= 0.95
    assert (own[right] < other.min()).mean() >= 0.95
    named = np.array([kind in words for words in found.kind[: len(train)]])
    assert named[right].mean() >= 0.7


def test_hashes_offer_what_the_coarse_search_does_not(
    photographs: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_COARSE", 1)  # so few are offered that some originals are not
    random = np.random.default_rng(5)
    queries = np.stack(
        [altering.noisy(altering.cropped(own, random), random) for own in photographs]
    )
    found = [find_images(photographs, queries, neighbours=1)]
    none = np.full((len(queries), 1), -1, np.int64)
    monkeypatch.setattr(images, "nearest_hashes", lambda *_: none)
    found.append(find_images(photographs, queries, neighbours=1))
    right = [(own.train == np.arange(len(queries))).mean() for own in found]
    assert right[0] > right[1]
