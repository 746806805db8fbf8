"""Random numbers: a generator of its own for each purpose."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A generator that depends on the seed and on what it is for, so that no sample is another."""
    return np.random.default_rng([seed % 2**64, zlib.crc32(purpose.encode())])
