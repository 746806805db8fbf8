"""Candidates among larger images by perceptual hash: package ImageHash.

A perceptual hash is the signs of an image's lowest cosine frequencies, 64 bits. It barely changes
when an image is scaled, compressed or made brighter, and it knows nothing of mirrors; hence the
query's mirror image is asked too. Crops and shifts change it by many bits, so it only offers
candidates: what they are is judged by aligning them, as that of all others.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from auditkit_leakage.neighbours import Indices, Vectors, nearest
from auditkit_leakage.resampling import Images


def hashes(images: Images) -> Vectors:
    """The perceptual hash of each image: zeros and ones, float32 [image, 64]."""
    from imagehash import phash  # noqa: PLC0415 - slow to import

    bits = [phash(Image.fromarray(image)).hash.reshape(-1) for image in images]
    return np.array(bits, dtype=np.float32).reshape(len(bits), -1)


def nearest_hashes(train: Images, queries: Images, count: int) -> Indices:
    """The training images whose hashes differ least from the query's, and from its mirror image's.

    Args:
        train: the training images.
        queries: the evaluation images.
        count: how many to give for the query, and as many for its mirror image.

    Returns:
        Positions, int64 [query, candidate].
    """
    known = hashes(train)
    mirrored = tuple(image[:, ::-1] for image in queries)
    found = [nearest(hashes(asked), known, count)[0] for asked in (queries, mirrored)]
    return np.concatenate(found, axis=1)
