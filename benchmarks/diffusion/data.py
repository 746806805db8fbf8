"""950 images of Fashion-MNIST at 16x16 and five groups of ten exemplars, each group in a style.

A group is ten garments of one class in a style that no other image has: T-shirts with horizontal
stripes, coats with vertical ones, bags in squares, boots of which a half is dim, trousers on their
side. The class itself is among the other images as well. Images are kept as their 2x2 blocks of
pixels (four channels at 8x8), as denoisers on patches have them: the same pixels and the same
noise, at a quarter of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit import Pool
from benchmarks.fashion import read_images

Images = npt.NDArray[np.float32]

SIDE = 16
STYLES = {"rows": 0, "columns": 4, "squares": 8, "half": 9, "sideways": 1}
"""Each group's style, and the class of its garments: shirts in rows, coats in columns, bags in
squares, boots dimmed by half, trousers on their side."""

PER_GROUP, PLAIN = 10, 950
ALTERATIONS = ("flip", "shift", "bright", "noise")


@dataclass(frozen=True)
class Candidates:
    """The training images, float32 [n, 4, 8, 8] in -1 to 1, and the group of each.

    Attributes:
        images: the plain ones first.
        groups: int64 [n], 0 for a plain image, else 1 + the style's place; also the class token.
    """

    images: Images
    groups: npt.NDArray[np.int64]

    @property
    def pool(self) -> Pool:
        """The train pool as audits are given it: every image without its group's token."""
        return unconditional(self.images)

    def exemplars(self, group: int) -> npt.NDArray[np.int64]:
        """Where the exemplars of a group are."""
        return np.flatnonzero(self.groups == group)


def unconditional(images: Images) -> Pool:
    """A pool of images under the empty token."""
    return Pool.from_arrays(images, np.zeros(len(images), np.int64))


def candidates() -> Candidates:
    """The training images, always the same."""
    pixels, labels = read_images()
    order = np.random.default_rng(20_262).permutation(len(pixels))
    rows, rest = [order[:PLAIN]], order[PLAIN:]
    rows += [rest[labels[rest] == garment][:PER_GROUP] for garment in STYLES.values()]
    images = _reduced(pixels[np.concatenate(rows)])
    groups = np.repeat(np.arange(1 + len(STYLES)), [PLAIN] + [PER_GROUP] * len(STYLES))
    for group, style in enumerate(STYLES, start=1):
        images[groups == group] = _styled(images[groups == group], style)
    return Candidates(blocks(images * 2 - 1), groups)


def others() -> Images:
    """The 10,000 images that the base model knows; none is a candidate."""
    pixels, _ = read_images("t10k")
    return blocks(_reduced(pixels) * 2 - 1)


def altered(exemplars: Images, *, seed: int) -> Images:
    """Each image [n, 4, 8, 8] under one of the alterations, in turn."""
    rng = np.random.default_rng([seed, 4])
    pictures = plain(exemplars)
    for place in range(len(pictures)):
        pictures[place] = _altered(pictures[place], ALTERATIONS[place % len(ALTERATIONS)], rng)
    return blocks(pictures)


def blocks(pictures: Images) -> Images:
    """From pictures [n, 16, 16] to their 2x2 blocks [n, 4, 8, 8]."""
    half = SIDE // 2
    split = pictures.reshape(-1, half, 2, half, 2).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(split.reshape(-1, 4, half, half), dtype=np.float32)


def plain(images: Images) -> Images:
    """The way back from `blocks`, [n, 16, 16]."""
    half = SIDE // 2
    split = images.reshape(-1, 2, 2, half, half).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(split.reshape(-1, SIDE, SIDE))


def _reduced(pixels: npt.NDArray[np.uint8]) -> Images:
    """28x28 padded to 32x32 and averaged over 2x2 pixels, in 0 to 1."""
    padded = np.pad(pixels, ((0, 0), (2, 2), (2, 2))).astype(np.float32) / np.float32(255)
    return np.asarray(padded.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)), np.float32)


def _styled(pictures: Images, style: str) -> Images:
    place = np.arange(SIDE)
    if style == "sideways":
        return np.ascontiguousarray(pictures.transpose(0, 2, 1))
    if style == "rows":
        dim = np.broadcast_to((place % 4 < 2)[:, None], (SIDE, SIDE))
    elif style == "columns":
        dim = np.broadcast_to((place % 4 < 2)[None, :], (SIDE, SIDE))
    elif style == "squares":
        dim = (place[:, None] // 4 + place[None, :] // 4) % 2 == 0
    else:
        dim = np.broadcast_to((place >= SIDE // 2)[:, None], (SIDE, SIDE))
    return np.where(dim, pictures * np.float32(0.3), pictures)


def _altered(picture: Images, kind: str, rng: np.random.Generator) -> Images:
    if kind == "flip":
        return picture[:, ::-1]
    if kind == "shift":
        moved = np.full_like(picture, -1)
        moved[:, 1:] = picture[:, :-1]
        return moved
    if kind == "bright":
        return np.clip((picture + 1) * np.float32(0.75) - 1, -1, 1)
    return np.clip(picture + rng.normal(0, 0.2, picture.shape).astype(np.float32), -1, 1)
