"""Last step for larger images: do the details agree too?

Of an image of 32 pixels a side, sky is sky and one leaf another. Where images are larger, the best
pairs are laid onto each other again at 64 pixels, with a map that can also turn and shear (affine,
Gauss-Newton steps as in `registration`), and compared by their details: the differences of
neighbouring pixels. A detail counts as far as it continues in the next row or column, which noise
does not; and what was cut off at black or white says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from auditkit_leakage.neighbours import Vectors
from auditkit_leakage.registration import Numbers, Pairs, Parts
from auditkit_leakage.resampling import Images

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 64
"""The side images are brought to here; those with fewer pixels are not worth it."""

_STEPS = 4
_BLOCK = 256
_BLUR = 0.9
_STIFFNESS = 0.01
_LARGEST_MOVE = 0.06
_CLIPPED = (3, 253)
_FEWEST_CLEAR = 0.2
_MOST_CONTRAST = 4.0
_FLOOR = 1.0
_ALWAYS_UNLIKE = 0.3
"""Squared grey levels of details that count as none, and that every pair is taken to differ by."""

_NOISE_SHARE = 0.02
_FLOOR_UNLIKE = 0.05


@dataclass(frozen=True)
class Detailed:
    """Queries laid onto training images with a map that can turn, per pair.

    Attributes:
        parts: which part of the training image the query shows, without the turn.
        angle: by how much it is turned, in degrees.
        unlike: float64; the share of the query's variance that the training image does not explain.
        details: float64; the share of the query's details that it does not explain.
        contrast: the query's contrast over the training image's.
        brightness: what is added to the training image's grey levels to get the query's.
    """

    parts: Parts
    angle: Numbers
    unlike: Numbers
    details: Numbers
    contrast: Vectors
    brightness: Vectors


def detailed(
    train: Images, queries: Images, pairs: Pairs, parts: Parts, flipped: npt.NDArray[np.bool_]
) -> Detailed:
    """Aligned once more at 64 pixels a side, and compared there.

    Args:
        train: the training images.
        queries: the evaluation images.
        pairs: positions of each pair's query and training image, int64 [pair] twice.
        parts: where to begin.
        flipped: bool [pair]; whether the query is mirrored.
    """
    import torch  # noqa: PLC0415 - heavy

    done = []
    for block in np.array_split(np.arange(len(pairs[0])), len(pairs[0]) // _BLOCK + 1):
        asked, known = (
            torch.from_numpy(_scaled(images, own[block]))
            for images, own in ((queries, pairs[0]), (train, pairs[1]))
        )
        turned = torch.from_numpy(flipped[block])[:, None, None, None]
        asked = torch.where(turned, asked.flip(-1), asked)
        start, size = (torch.from_numpy(own[block]).float() for own in (parts.start, parts.size))
        with torch.no_grad():
            moved, middle = _aligned(asked, known, torch.diag_embed(size), start + size / 2 - 0.5)
            done.append((moved, middle, *_compared(asked, known, moved, middle)))
    maps, middles, unlike, details, contrast, brightness = (
        torch.cat(part).double().numpy() for part in zip(*done, strict=True)
    )
    shown = np.stack([maps[:, 0, 0], maps[:, 1, 1]], axis=1)
    turn = np.arctan2(maps[:, 1, 0] - maps[:, 0, 1], shown.sum(axis=1))
    begin = middles + 0.5 - shown / 2
    return Detailed(
        Parts(begin.astype(np.float32), shown.astype(np.float32)),
        np.degrees(turn),
        unlike,
        details,
        contrast.astype(np.float32),
        brightness.astype(np.float32),
    )


def _scaled(images: Images, places: npt.NDArray[np.int64]) -> Vectors:
    """The images at `places` in colour at the working size, float32 [pair, 3, side, side]."""
    needed, inverse = np.unique(places, return_inverse=True)
    planes = np.empty((len(needed), 3, SIDE, SIDE), dtype=np.float32)
    for row, place in enumerate(needed):
        image = Image.fromarray(images[place]).convert("RGB")
        way = Image.Resampling.BOX if min(image.size) >= SIDE else Image.Resampling.BICUBIC
        planes[row] = np.asarray(image.resize((SIDE, SIDE), way)).transpose(2, 0, 1)
    taken: Vectors = planes[inverse]
    return taken


def _aligned(
    queries: Tensor, train: Tensor, moved: Tensor, middle: Tensor
) -> tuple[Tensor, Tensor]:
    """Maps from the query's frame to the training image's, after Gauss-Newton steps.

    Args:
        queries: [pair, 3, side, side].
        train: likewise.
        moved: [pair, 2, 2]; how far one goes in the training image, in sides, for a side of the
            query's rows and columns.
        middle: [pair, 2]; where the query's middle lies, from the training image's, in sides.
    """
    import torch  # noqa: PLC0415 - heavy

    soft = [_blurred(images.mean(dim=1, keepdim=True)) for images in (queries, train)]
    clear, (rows, columns) = _clear(queries), _along()
    target = soft[0].flatten(1).double()[:, :, None]
    held = torch.tensor([_STIFFNESS] * 6 + [1e-6] * 2, dtype=torch.float64)
    for _ in range(_STEPS):
        laid, inside = _laid(soft[1], moved, middle)
        laid = laid[:, 0]
        down, right = torch.zeros_like(laid), torch.zeros_like(laid)
        down[:, 1:-1] = (laid[:, 2:] - laid[:, :-2]) * (SIDE / 2)
        right[:, :, 1:-1] = (laid[:, :, 2:] - laid[:, :, :-2]) * (SIDE / 2)
        slopes = [part * by for part in (down, right) for by in (1.0, rows, columns)]
        table = torch.stack([*slopes, laid, torch.ones_like(laid)], dim=1)
        table = (table * (inside * clear)[:, None]).flatten(2).double()
        squares = table @ table.transpose(1, 2)
        damped = squares.diagonal(dim1=1, dim2=2) * held + 1e-3 * SIDE**2
        solved = torch.linalg.solve(squares + torch.diag_embed(damped), table @ target)[:, :, 0]
        contrast = solved[:, 6:7].float()
        steps = solved[:, :6].float() / torch.where(contrast.abs() > 0.1, contrast, torch.inf)
        steps = steps.clamp(-_LARGEST_MOVE, _LARGEST_MOVE).reshape(-1, 2, 3)
        middle = middle + (moved @ steps[:, :, :1])[:, :, 0]
        moved = moved + moved @ steps[:, :, 1:]
    return moved, middle


def _laid(images: Tensor, moved: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Training images on the queries' frames, and where these have something of them."""
    import torch  # noqa: PLC0415 - heavy
    from torch.nn.functional import grid_sample  # noqa: PLC0415 - as above

    rows, columns = _along()
    spots = [
        moved[:, axis, 0, None, None] * rows
        + moved[:, axis, 1, None, None] * columns
        + middle[:, axis, None, None]
        for axis in (0, 1)
    ]
    reach = 0.5 - 0.25 / SIDE
    inside = ((spots[0].abs() <= reach) & (spots[1].abs() <= reach)).float()
    grid = torch.stack([2 * spots[1], 2 * spots[0]], dim=-1)
    return grid_sample(images, grid, padding_mode="border", align_corners=False), inside


def _along() -> tuple[Tensor, Tensor]:
    """The place of each pixel along the rows and the columns, in sides from the middle."""
    import torch  # noqa: PLC0415 - heavy

    places = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    return rows, columns


def _blurred(images: Tensor) -> Tensor:
    """A Gaussian blur; the edge does not darken."""
    import torch  # noqa: PLC0415 - heavy
    from torch.nn.functional import conv2d, pad  # noqa: PLC0415 - as above

    reach = int(3 * _BLUR + 1)
    places = torch.arange(-reach, reach + 1)
    weights = torch.exp(-(places**2) / (2 * _BLUR**2))
    weights = weights / weights.sum()
    wide = pad(images, (reach,) * 4, mode="replicate")
    return conv2d(conv2d(wide, weights[None, None, None]), weights[None, None, :, None])


def _clear(queries: Tensor) -> Tensor:
    """Which pixels were not cut off at black or white, nor beside such, [pair, side, side]."""
    import torch  # noqa: PLC0415 - heavy
    from torch.nn.functional import max_pool2d  # noqa: PLC0415 - as above

    highest = queries.amax(dim=1)
    cut = ((highest >= _CLIPPED[1]) | (highest <= _CLIPPED[0])).float()
    clear = 1 - max_pool2d(cut[:, None], 3, 1, 1)[:, 0]
    few = clear.mean(dim=(1, 2), keepdim=True) < _FEWEST_CLEAR
    return torch.where(few, 1.0, clear)


def _compared(
    queries: Tensor, train: Tensor, moved: Tensor, middle: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What stays unexplained of the variance and of the details; contrast and brightness."""
    laid, inside = _laid(train, moved, middle)
    mask = (inside * _clear(queries))[:, None].expand_as(laid)
    contrast, brightness = _fitted(queries, laid, mask)
    predicted = contrast[:, None, None, None] * laid + brightness[:, None, None, None]
    rest = queries - predicted.clamp(0, 255)
    total = mask.sum(dim=(1, 2, 3)).clamp(min=1)
    mean = (mask * queries).sum(dim=(1, 2, 3)) / total
    variance = (mask * (queries - mean[:, None, None, None]) ** 2).sum(dim=(1, 2, 3)) / total
    noise = (mask * rest**2).sum(dim=(1, 2, 3)) / total
    down = mask[:, :, 1:] * mask[:, :, :-1]
    structure = (rest[:, :, 1:] * rest[:, :, :-1] * down).sum(dim=(1, 2, 3)) / total
    left = structure.clamp(min=0) + _NOISE_SHARE * noise + _FLOOR_UNLIKE
    details = (_details(rest, mask) / total).clamp(min=0) + _ALWAYS_UNLIKE
    there = (_details(queries, mask) / total).clamp(min=0) + _FLOOR
    return (
        (left / (variance + 1)).clamp(0, 1),
        (details / there).clamp(0, 1),
        contrast,
        brightness,
    )


def _details(images: Tensor, mask: Tensor) -> Tensor:
    """Products of differences along one axis that are neighbours along the other, summed, [pair].

    Of noise these products cancel; of an edge or a texture they do not.
    """
    right, down = images.diff(dim=3), images.diff(dim=2)
    wide, high = mask[..., 1:] * mask[..., :-1], mask[:, :, 1:] * mask[:, :, :-1]
    total: Tensor = (right[:, :, 1:] * right[:, :, :-1] * wide[:, :, 1:] * wide[:, :, :-1]).sum(
        dim=(1, 2, 3)
    ) + (down[..., 1:] * down[..., :-1] * high[..., 1:] * high[..., :-1]).sum(dim=(1, 2, 3))
    return total / 2


def _fitted(queries: Tensor, laid: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast and brightness that take training images to queries, [pair] twice."""
    clear = mask * (queries < _CLIPPED[1])
    total = clear.sum(dim=(1, 2, 3)).clamp(min=1)
    means = [(clear * images).sum(dim=(1, 2, 3)) / total for images in (queries, laid)]
    known = (laid - means[1][:, None, None, None]) * clear
    cross = (queries * known).sum(dim=(1, 2, 3)) / total
    contrast = (cross / ((known**2).sum(dim=(1, 2, 3)) / total + 1)).clamp(0, _MOST_CONTRAST)
    return contrast, means[0] - contrast * means[1]
