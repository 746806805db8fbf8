"""What Forward-INF is compared with: likeness of pixels and features, gradients, TRAK and D-TRAK.

D-TRAK (Zheng et al., ICLR 2024) is TRAK on gradients of the squared norm of the predicted noise, in
place of the loss: the mean over evenly spread timesteps with a noise each, projected or not, and
the kernel `(Phi^T Phi + lambda I)^-1` on the training side. With Phi [train, weight], scores are
`phi_q (Phi^T Phi + lambda I)^-1 Phi^T = phi_q Phi^T (Phi Phi^T + lambda I)^-1`, which is how they
are computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from diffusers import UNet2DModel
from torch import Tensor

from benchmarks.diffusion.data import Images
from benchmarks.diffusion.model import scheduler

Floats: TypeAlias = npt.NDArray[np.float32]
Quantity: TypeAlias = Literal["loss", "squared norm"]

Noise: TypeAlias = Literal["own", "shared"]
"""Whether each image has noises of its own, as published, or all have the same."""

TIMES = 16
DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Lambdas tried for TRAK and D-TRAK, in units of the kernel's mean eigenvalue."""

PROJECTED = 4096


def gradients(
    model: UNet2DModel, images: Images, quantity: Quantity, noise: Noise, *, seed: int, file: Path
) -> Floats:
    """Gradient by all weights of each image's quantity, float32 [image, weight], kept in a file.

    The mean over evenly spread timesteps with a noise each, under the empty token.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(
            file.with_suffix(".part.npy"), fresh_gradients(model, images, quantity, noise, seed)
        )
        file.with_suffix(".part.npy").replace(file)
    return np.asarray(np.load(file, mmap_mode="r"))


def fresh_gradients(
    model: UNet2DModel, images: Images, quantity: Quantity, noise: Noise, seed: int
) -> Floats:
    """The same, computed."""
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    found = np.empty((len(images), sum(weight.numel() for weight in parameters)), np.float32)
    generator = torch.Generator().manual_seed(seed)
    shape = (TIMES, *images.shape[1:])
    drawn = torch.randn(shape, generator=generator)
    for row, image in enumerate(torch.from_numpy(images)):
        value = _quantity(model, image, quantity, drawn)
        slopes = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        found[row] = torch.cat([slope.flatten() for slope in slopes]).numpy()
        drawn = torch.randn(shape, generator=generator) if noise == "own" else drawn
    return found


def dot(queries: Floats, train: Floats) -> Floats:
    """Gradient products, as of TracIn with one checkpoint."""
    return queries @ train.T


def cosine(queries: Floats, train: Floats) -> Floats:
    """The same of unit vectors."""
    return _unit(queries) @ _unit(train).T


def trak(queries: Floats, train: Floats, *, damping: float) -> Floats:
    """TRAK's scores, and D-TRAK's on gradients of the squared norm, of one model.

    Args:
        queries: products of gradients of queries and candidates, [query, train].
        train: those of candidates, [train, train].
        damping: lambda, in units of the mean eigenvalue.
    """
    return queries @ kernel(train, damping=damping)


def kernel(train: Floats, *, damping: float) -> Floats:
    """`(Phi Phi^T + lambda I)^-1` by `Phi Phi^T`, float32 [train, train]."""
    products = train.astype(np.float64)
    ridge = damping * np.trace(products) / len(train)
    return np.linalg.inv(products + ridge * np.eye(len(train))).astype(np.float32)


def projected(rows: Sequence[Floats], *, width: int = PROJECTED, seed: int = 0) -> list[Floats]:
    """All rows times one random matrix of signs, float32 [row, width] each."""
    rng = np.random.default_rng(seed)
    found = [np.zeros((len(part), width), np.float32) for part in rows]
    total, step = rows[0].shape[1], 4096
    for begin in range(0, total, step):
        count = min(step, total - begin)
        signs = rng.integers(0, 2, (count, width), dtype=np.int8).astype(np.float32) * 2 - 1
        for part, whole in zip(found, rows, strict=True):
            np.add(part, whole[:, begin : begin + count] @ signs, out=part)
    return [part / np.float32(width**0.5) for part in found]


def pixels(queries: Images, train: Images) -> Floats:
    """Minus the squared distance of pixels."""
    first, second = queries.reshape(len(queries), -1), train.reshape(len(train), -1)
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1)[None]
    return np.asarray(2 * first @ second.T - squares, np.float32)


@torch.no_grad()
def features(model: UNet2DModel, images: Images, *, times: int = 4, seed: int = 3) -> Floats:
    """The middle of the denoiser, mean over timesteps, unit vectors [image, feature]."""
    kept: list[Tensor] = []
    hook = model.mid_block.register_forward_hook(lambda *call: kept.append(call[2].detach()))
    generator, values = torch.Generator().manual_seed(seed), torch.from_numpy(images)
    grid = (torch.arange(times) + 0.5) * 500 / times
    try:
        for time in grid.long():
            noise = torch.randn(images.shape[1:], generator=generator).expand(values.shape)
            moments = time.expand(len(values))
            noisy = scheduler().add_noise(values, noise, moments)
            model(noisy, moments, class_labels=torch.zeros_like(moments))
    finally:
        hook.remove()
    found = torch.stack(kept).mean(0).flatten(1).numpy()
    return _unit(found - found.mean(0))


def _quantity(model: UNet2DModel, image: Tensor, quantity: Quantity, noise: Tensor) -> Tensor:
    moments = ((torch.arange(TIMES) + 0.5) * 1000 / TIMES).long()
    noisy = scheduler().add_noise(image.expand(noise.shape), noise, moments)
    guess = model(noisy, moments, class_labels=torch.zeros_like(moments)).sample
    return ((guess - noise) ** 2).mean() if quantity == "loss" else (guess**2).mean()


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
