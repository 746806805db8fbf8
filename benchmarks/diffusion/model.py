"""The denoiser: diffusers' UNet2DModel, how it is trained, and how it generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.nn import functional

from benchmarks.diffusion.data import STYLES, Candidates, Images, others

EPOCHS, BATCH, RATE = 40, 64, 2e-3
TOKENS = 4
"""How often in an epoch an exemplar is seen under its group's token, beside once without."""

STEPS, GUIDANCE = 50, 3.0
BASE_STEPS, BASE_RATE = 4_500, 3e-3


def scheduler() -> DDPMScheduler:
    """The noise schedule: a thousand steps, cosine, noise predicted."""
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")


def denoiser() -> UNet2DModel:
    """A new UNet of 160,948 parameters, always the same; token 0 is the empty one."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(16, 32), norm_num_groups=8, add_attention=False,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        num_class_embeds=1 + len(STYLES),
    )  # fmt: skip


def base() -> UNet2DModel:
    """The denoiser before it is customized: trained on 10,000 other images, all without a token."""
    model = denoiser()
    pictures = torch.from_numpy(others())
    generator = torch.Generator().manual_seed(1)
    with _Training(model, steps=BASE_STEPS, rate=BASE_RATE) as step:
        for _ in range(BASE_STEPS):
            rows = torch.randint(0, len(pictures), (BATCH,), generator=generator)
            step(pictures[rows], torch.zeros_like(rows), generator)
    return model


def trained(
    data: Candidates,
    rows: npt.NDArray[np.int64],
    *,
    start: Mapping[str, Tensor],
    seed: int = 0,
    keep: Sequence[int] = (),
) -> tuple[UNet2DModel, list[dict[str, Tensor]]]:
    """A denoiser customized on some of the candidates, and its weights after the epochs to keep.

    In each epoch every image is seen without a token, and exemplars
    four times more under their group's.
    """
    model, kept = denoiser(), []
    model.load_state_dict(start)
    groups = data.groups[rows]
    exemplars = np.tile(np.flatnonzero(groups), TOKENS)
    shown = np.concatenate([rows, rows[exemplars]])
    images = torch.from_numpy(data.images[shown])
    tokens = torch.from_numpy(np.concatenate([np.zeros_like(rows), groups[exemplars]]))
    generator = torch.Generator().manual_seed(1_000 + seed)
    with _Training(model, steps=EPOCHS * -(-len(shown) // BATCH), rate=RATE) as step:
        for epoch in range(1, EPOCHS + 1):
            for places in torch.randperm(len(shown), generator=generator).split(BATCH):
                step(images[places], tokens[places], generator)
            if epoch in keep:
                kept.append({name: value.clone() for name, value in model.state_dict().items()})
    return model, kept


class _Training:
    """Steps of AdamW on the noise-prediction error, the rate rising shortly and then falling."""

    def __init__(self, model: UNet2DModel, *, steps: int, rate: float) -> None:
        self.model, self.schedule = model, scheduler()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
        self.rate = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=steps, pct_start=0.05
        )

    def __enter__(self) -> Callable[[Tensor, Tensor, torch.Generator], None]:
        self.model.train()
        return self.step

    def __exit__(self, *_: object) -> None:
        self.model.eval()

    def step(self, images: Tensor, tokens: Tensor, generator: torch.Generator) -> None:
        """One step on a batch of images under their tokens."""
        noise = torch.randn(images.shape, generator=generator)
        times = torch.randint(0, 1000, (len(images),), generator=generator)
        noisy = self.schedule.add_noise(images, noise, times)
        loss = functional.mse_loss(self.model(noisy, times, class_labels=tokens).sample, noise)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.rate.step()


@torch.no_grad()
def generated(
    model: UNet2DModel, tokens: Sequence[int], *, seed: int, guidance: float = GUIDANCE
) -> Images:
    """One image per token, float32 [n, 4, 8, 8], by classifier-free guidance toward its token."""
    sampler = DDIMScheduler.from_config(scheduler().config, clip_sample=True)
    sampler.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((len(tokens), 4, 8, 8), generator=generator)
    labels = torch.tensor(tokens)
    for time in sampler.timesteps:
        noise = model(images, time, class_labels=torch.zeros_like(labels)).sample
        if labels.any():
            toward = model(images, time, class_labels=labels).sample - noise
            noise = noise + guidance * toward
        images = sampler.step(noise, time, images, eta=1.0, generator=generator).prev_sample
    return images.clamp(-1, 1).numpy()


@torch.no_grad()
def losses(model: UNet2DModel, images: Images, *, times: int, noises: int, seed: int) -> np.ndarray:
    """Noise-prediction error under the empty token, float32 [n, times], the mean over noises.

    Timesteps are evenly spread; noises are the same for every image and model.
    """
    schedule, generator = scheduler(), torch.Generator().manual_seed(seed)
    grid = ((torch.arange(times) + 0.5) * 1000 / times).long()
    found = np.zeros((len(images), times), np.float32)
    values = torch.from_numpy(images)
    for column, time in enumerate(grid):
        for _ in range(noises):
            noise = torch.randn(images.shape[1:], generator=generator).expand(values.shape)
            moments = time.expand(len(values))
            noisy = schedule.add_noise(values, noise, moments)
            guess = model(noisy, moments, class_labels=torch.zeros_like(moments)).sample
            found[:, column] += ((guess - noise) ** 2).mean(dim=(1, 2, 3)).numpy() / noises
    return found
