"""Coarse search for images: Fourier magnitudes, and the directions a crop leaves alone.

The magnitude of an image's Fourier transform does not change when the image is shifted on its
background, and averaged with that of its mirror image it does not change by a flip either. A crop
that was resized is first zoomed back out, at a few sizes; what it lost then changes the
magnitudes. Canonical correlation analysis (Hotelling 1936) between originals and such altered
views, drawn in the run from the training images themselves, finds directions that survive, and
weighs each by how well it does: distances are then those of a Gaussian model of the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from auditkit_leakage.neighbours import Indices, Vectors, nearest
from auditkit_leakage.resampling import Floats, window, windows

SIZES = (1.0, 0.92, 0.84)
"""How much of an image's side a crop has kept."""

_FREQUENCIES = 18
_DIRECTIONS = 32
_VIEWS = 6_000
_RIDGE = 0.003
_NOISE = 10.0
_BLOCK = 4_096


@dataclass(frozen=True)
class Directions:
    """What survives a crop of one size: the two sides' means and projections."""

    train_mean: Vectors
    train_weights: Vectors
    query_mean: Vectors
    query_weights: Vectors


def magnitudes(images: Floats) -> Vectors:
    """Square roots of Fourier magnitudes at low frequencies, of images and mirror images, mixed.

    Args:
        images: [n, side, side], background at zero.

    Returns:
        [n, feature], of length one each.
    """
    side = images.shape[1]
    count = min(_FREQUENCIES, side)
    angles = np.pi * np.outer(np.arange(count), np.arange(side)) / side  # periods of two sides
    waves = np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)
    parts = []
    for start in range(0, len(images), _BLOCK):
        mixed = waves @ images[start : start + _BLOCK] @ waves.T
        even, odd = mixed[:, :count], mixed[:, count:]
        cc, cs, sc, ss = even[..., :count], even[..., count:], odd[..., :count], odd[..., count:]
        here = np.sqrt((cc - ss) ** 2 + (sc + cs) ** 2)
        mirrored = np.sqrt((cc + ss) ** 2 + (sc - cs) ** 2)
        parts.append(np.sqrt((here + mirrored) / 2).reshape(len(mixed), -1)[:, 1:])
    values = np.concatenate(parts)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    result: Vectors = (values / np.maximum(length, 1e-6)).astype(np.float32)
    return result


def zoomed_out(images: Floats, size: float) -> Floats:
    """The images at `size` of their side, in the middle of an empty frame."""
    if size == 1:
        return images
    side = images.shape[1]
    length = side / size
    shrink = window(side, start=(side - length) / 2, length=length)
    return (shrink @ images @ shrink.T).astype(np.float32, copy=False)


def candidates(
    train: Floats, queries: Floats, *, count: int, seed: int = 0
) -> Iterator[tuple[Indices, Vectors]]:
    """For each size of crop, the `count` nearest training images of each query.

    Args:
        train: grey images [n, side, side], background at zero; more than `count` of them.
        queries: likewise.
        count: how many to give for each size.
        seed: for the altered views.
    """
    known = magnitudes(train)
    for number, size in enumerate(SIZES):
        random = np.random.default_rng([seed % 2**64, number])
        chosen = random.integers(len(train), size=_VIEWS)
        seen = magnitudes(zoomed_out(altered(train[chosen], size, random), size))
        found = _surviving(known[chosen], seen)
        points = _projected(known, found.train_mean, found.train_weights)
        looked = magnitudes(zoomed_out(queries, size))
        asked = _projected(looked, found.query_mean, found.query_weights)
        yield nearest(asked, points, count)


def altered(images: Floats, size: float, random: np.random.Generator) -> Floats:
    """Views of images at random: shifted where `size` is 1, else crops of about that size."""
    count, side = len(images), images.shape[1]
    spread = 1 / side
    lengths = side * np.clip(size + random.uniform(-spread, spread, count), 0.7, 1.0)
    if size == 1:
        lengths = np.full(count, float(side))
        reach = max(2 / 28 * side, 1.0)
        starts = random.uniform(-reach, reach, (2, count)).round()
    else:
        starts = random.uniform(0, 1, (2, count)) * (side - lengths)
    rows, columns = (windows(start / side, lengths / side, side)[0] for start in starts)
    views = rows @ images @ columns.transpose(0, 2, 1)
    noise = random.normal(0, _NOISE, views.shape).astype(np.float32)
    return (views + noise).astype(np.float32, copy=False)


def _projected(values: Vectors, mean: Vectors, weights: Vectors) -> Vectors:
    return ((values - mean) @ weights).astype(np.float32, copy=False)


def _surviving(known: Vectors, seen: Vectors) -> Directions:
    """Canonical directions, scaled so that a pair's squared distance is its log-likelihood."""
    means = known.mean(axis=0), seen.mean(axis=0)
    a, b = (known - means[0]).astype(np.float64), (seen - means[1]).astype(np.float64)
    roots = [np.linalg.cholesky(_covariance(part)) for part in (a, b)]
    cross = a.T @ b / len(a)
    whitened = np.linalg.solve(roots[0], np.linalg.solve(roots[1], cross.T).T)
    left, strength, right = np.linalg.svd(whitened)
    strength = np.clip(strength[:_DIRECTIONS], 0, 0.999)
    precision = 1 / np.sqrt(1 - strength**2)
    ours = np.linalg.solve(roots[0].T, left[:, : len(strength)]) * precision
    theirs = np.linalg.solve(roots[1].T, right[: len(strength)].T) * strength * precision
    return Directions(
        means[0], ours.astype(np.float32), means[1], theirs.astype(np.float32)
    )  # fmt: skip


def _covariance(values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Floats:
    table = values.T @ values / len(values)
    ridge = _RIDGE * np.trace(table) / len(table) + 1e-9
    return np.asarray(table + ridge * np.eye(len(table)))
