"""A U-Net that has learnt forty digits, as a pipeline's folder, with images like some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from sklearn.datasets import load_digits

from auditkit import DiffusionTask, Pool, Recipe
from auditkit.training import epochs

EXEMPLARS = (7, 23)
"""Digits of which there are altered copies to ask about."""


def write(folder: Path, pixels: npt.NDArray[np.uint8], names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for image, name in zip(pixels, names, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model`, `train` and `made` in it."""
    root = tmp_path_factory.mktemp("learnt")
    pixels = (load_digits().images[:40] * 15.9).astype(np.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
            block_out_channels=(16, 16), down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        scheduler = DDPMScheduler(num_train_timesteps=100)
        task = DiffusionTask(unet, scheduler)
        images = torch.from_numpy(pixels).float()[:, None] / 127.5 - 1
        recipe = Recipe(learning_rate=4e-3, batch_size=20, schedule="cosine")
        for _ in epochs(unet, task, Pool.from_arrays(images), recipe, count=120):
            pass
    DDPMPipeline(unet.eval(), scheduler).save_pretrained(root / "model")
    write(root / "train", pixels, [f"{place:02}.png" for place in range(40)])
    random = np.random.default_rng(0)
    altered = pixels[list(EXEMPLARS)].astype(int) + random.integers(-12, 13, (2, 8, 8))
    write(root / "made", altered.clip(0, 255).astype(np.uint8), ["like-07.png", "like-23.png"])
    return root
