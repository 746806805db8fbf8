from __future__ import annotations

import numpy as np
import numpy.typing as npt
from auditkit_leakage import altering
from auditkit_leakage.hashes import hashes, nearest_hashes

Bytes = npt.NDArray[np.uint8]


def test_hashes_are_bits_and_hardly_change_by_compression(photographs: Bytes) -> None:
    random = np.random.default_rng(0)
    packed = np.stack([altering.compressed(image, random) for image in photographs])
    ours, theirs = hashes(photographs), hashes(packed)
    assert ours.shape == (len(photographs), 64)
    assert set(np.unique(ours)) == {0, 1}
    assert np.abs(ours - theirs).sum(axis=1).max() <= 8
    assert np.median(np.abs(ours - np.roll(ours, 1, axis=0)).sum(axis=1)) > 20


def test_mirrored_and_brighter_images_are_offered(photographs: Bytes) -> None:
    random = np.random.default_rng(0)
    for alter in (altering.flipped, altering.brightened, altering.noisy):
        queries = tuple(alter(image, random) for image in photographs)
        offered = nearest_hashes(photographs, queries, 3)
        assert offered.shape == (len(photographs), 6)
        there = (offered == np.arange(len(photographs))[:, None]).any(axis=1)
        assert there.mean() >= 0.95
