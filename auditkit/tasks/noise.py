"""Random numbers by key: the same for the same example, whatever batch, order or device it is in.

A generator with a state gives what it gives by turn. Here each number is a function of a key and a
place, so that batches of any size can be drawn at once, and `torch.func` can map over them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_STRIDE = -7046029254386353131  # 0x9E3779B97F4A7C15, odd
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB
_BITS = 23
"""As many as leave the middles of equal parts of 0 to 1 exact: 1 itself has no finite quantile."""


def keys_of(names: Sequence[str], *, seed: int, side: str = "train") -> Tensor:
    """A key for each name, int64 [name]; others for other seeds, and on other sides."""
    digests = [hashlib.blake2b(f"{seed}\0{side}\0{name}".encode(), digest_size=8) for name in names]
    numbers = [int.from_bytes(digest.digest(), "big", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64)


def normal(keys: Tensor, draws: Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, float32 [n, *shape].

    Args:
        keys: int64 [n].
        draws: int64 [n]; which draw of each key.
        shape: of one draw.
    """
    places = torch.arange(1, math.prod(shape) + 1, device=keys.device)
    start = _mixed(keys + _STRIDE * (draws + 1))
    bits = _mixed(start[:, None] + _STRIDE * places)
    uniform = (_shifted(bits, 64 - _BITS).float() + 0.5) / 2**_BITS
    drawn = math.sqrt(2) * torch.erfinv(2 * uniform - 1)
    return drawn.reshape(-1, *shape)


def signs(keys: Tensor, size: int) -> Tensor:
    """-1 or 1, float32 [n, size]."""
    places = torch.arange(1, size + 1, device=keys.device)
    bits = _mixed(_mixed(keys)[:, None] + _STRIDE * places)
    return 1.0 - 2.0 * _shifted(bits, 63).float()


def _mixed(bits: Tensor) -> Tensor:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014), on wrapping signed numbers."""
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shifted right, filled with zeros."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
