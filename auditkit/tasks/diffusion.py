"""Diffusion models: the error of the predicted noise, on timesteps and noises that stay the same.

The loss of an image is an expectation over timesteps and noises. Between the trained and the moved
weights it must differ by the weights, and not by the draw: draws are fixed, the same for all images
or a function of each one's id, at timesteps that are spread evenly over the schedule.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from auditkit.batches import collate, every
from auditkit.choices import check_count
from auditkit.errors import SettingError, TaskError
from auditkit.pool import Pool, SizedDataset
from auditkit.subject import Task
from auditkit.tasks.denoising import (
    Encoder,
    Keyed,
    Latents,
    WithKeys,
    denoised,
    encoded,
    images_of,
    wants_condition,
)
from auditkit.tasks.noise import keys_of, normal
from auditkit.tasks.schedule import Schedule, times_of

if TYPE_CHECKING:
    from auditkit.subject import Batch

_ROWS = 64
"""How many draws of a single image are run at once."""

_ENCODED = 16
"""How many images are encoded at once."""


class DiffusionTask(Task):
    """A denoiser, trained to tell noise from image at any timestep.

    Batches are images, float [batch, channel, height, width] as the denoiser (or the encoder) takes
    them, usually in [-1, 1]; or (images, condition) pairs, or mappings with the images under
    `image`, `images` or `pixel_values` and the condition under `condition` or `label`. It is a
    class, int64 [batch], or a prompt embedding, float [batch, token, feature]; a denoiser that
    takes none is given none.

    The engine measures each image by `draws` pairs of a timestep and a noise, which stay the same.
    A training loop, which takes batches of a pool as they are, gets one random pair per image, as
    such models are trained.

    Args:
        model: the denoiser: `model(noisy, timesteps)` or `model(noisy, timesteps, condition)` gives
            its prediction, or an object with `.sample` (diffusers). Where it has twice the channels
            of the image, the second half is a variance and left out.
        scheduler: one of diffusers' with `alphas_cumprod` and the prediction type `epsilon`,
            `v_prediction` or `sample`; or `alphas_cumprod` itself, float [timestep], for a denoiser
            that predicts the noise.
        timesteps: how many: one in the middle of each of as many equal parts of the schedule.
        noises: how many at each timestep.
        shared: whether all images are measured by the same noises, instead of each by its own. What
            the noises add to a score by chance then weighs on all images alike, and agreement with
            retraining is better (docs/benchmarks.md).
        seed: of the noises.
        encoder: from images to what the denoiser works on, for latent models: a function, or an
            autoencoder of diffusers, whose mean is taken. Each pool is encoded once.
        class_names: a name per class, for a denoiser whose condition is a class.

    Raises:
        TaskError: a scheduler that does not say how images are mixed with noise, or what is
            predicted.
        SettingError: a number out of its range.
    """

    likelihood = "gaussian"

    def __init__(
        self,
        model: nn.Module,
        scheduler: object,
        *,
        timesteps: int = 16,
        noises: int = 1,
        shared: bool = True,
        seed: int = 0,
        encoder: Encoder | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(model, class_names=class_names)
        check_count("timesteps", timesteps)
        check_count("noises", noises)
        self.schedule = Schedule.of(scheduler)
        if timesteps > len(self.schedule):
            raise SettingError(
                f"timesteps is {timesteps} and the schedule has {len(self.schedule)}: give no more "
                "than these; `noises` makes several draws at each."
            )
        self.timesteps, self.noises = timesteps, noises
        self.shared, self.seed = shared, seed
        self.encoder = encoder
        self._wanted = wants_condition(model)
        self._latents: WeakKeyDictionary[Pool, Latents] = WeakKeyDictionary()

    @property
    def draws(self) -> int:
        """How many pairs of a timestep and a noise an image's loss is the mean of."""
        return self.timesteps * self.noises

    @property
    def measures(self) -> Mapping[str, Callable[[nn.Module, Batch], Tensor]]:
        """The loss and the mean square of the prediction, by name."""
        return {"loss": self.loss, "squared-norm": self.squared_norm}

    def with_draws(
        self, *, timesteps: int | None = None, noises: int | None = None, seed: int | None = None
    ) -> DiffusionTask:
        """The same task with other timesteps or noises; what is left out stays.

        Raises:
            SettingError: a number out of its range.
        """
        other = copy.copy(self)
        DiffusionTask.__init__(
            other,
            self.model,
            self.schedule,
            timesteps=self.timesteps if timesteps is None else timesteps,
            noises=self.noises if noises is None else noises,
            shared=self.shared,
            seed=self.seed if seed is None else seed,
            encoder=self.encoder,
            class_names=self.class_names,
        )
        other._latents = self._latents
        return other

    def prepared(self, pool: Pool, *, device: torch.device, asked: bool = False) -> Pool:
        """The pool with a key for each image, by which its noises are drawn; encoded, if it is.

        Where each has noises of its own, queries have others than training images of their ids:
        noises that only these two have in common would make them look alike.

        Raises:
            TaskError: examples that are no images.
        """
        if isinstance(pool[0], Keyed):
            return pool  # prepared before
        names = [""] * len(pool) if self.shared else pool.ids
        side = "query" if asked and not self.shared else "train"
        keys = keys_of(names, seed=self.seed, side=side)
        dataset: SizedDataset = pool.dataset
        if self.encoder is not None:
            if pool not in self._latents:
                self._latents[pool] = self._all_encoded(pool, device=device)
            dataset = self._latents[pool]
        source = Pool(dataset, ids=pool.ids)
        with_keys = WithKeys(source, keys, condition=self._wanted, task=type(self).__name__)
        return Pool(with_keys, ids=pool.ids)

    def one_draw(self, batch: Batch, which: Tensor | int) -> Batch:
        """A prepared batch with one draw of each image, by any numbers, int64 [batch], or one."""
        images, condition, keys = cast("tuple[Tensor, Tensor, Tensor]", batch)
        chosen = torch.full_like(keys, which) if isinstance(which, int) else which
        return images, condition, keys, chosen.remainder(self.draws)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Squared error of the prediction, averaged over its values and the draws, [batch].

        Raises:
            TaskError: a batch without images, a condition that is missing, or a prediction of
                another shape than the images.
        """
        return self._averaged(model, batch, lambda found, target: found - target)

    def squared_norm(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean square of the prediction over its values and the draws, [batch].

        What D-TRAK takes the gradient of (Zheng et al. 2024, section 3). Training gives it no
        direction, so it says something only where both sides are measured by it.
        """
        return self._averaged(model, batch, lambda found, _: found)

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predictions and targets of all draws, both float [batch, draw * value]."""
        rows = [
            [part.reshape(draws.count, -1) for part in self._predicted(model, draws)]
            for draws in self._draws(model, batch)
        ]
        found, targets = (torch.cat(part, dim=1) for part in zip(*rows, strict=True))
        return found, targets

    def features(self, model: nn.Module, batch: Batch) -> Tensor:
        """What the convolution with the smallest maps gives at the least noise, [batch, channel].

        Averaged over places. In a U-Net it is in the middle.

        Raises:
            TaskError: the denoiser runs no convolution.
        """
        seen: list[Tensor] = []
        hooks = [
            module.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
            for module in model.modules()
            if isinstance(module, nn.Conv2d)
        ]
        try:
            for draws in self._draws(model, self.one_draw(batch, 0)):
                self._predicted(model, draws)
        finally:
            for hook in hooks:
                hook.remove()
        if not seen:
            raise TaskError(
                f"The denoiser, a {type(model).__name__}, runs no torch.nn.Conv2d layer, whose "
                "maps would be its features."
            )
        smallest = min(reversed(seen), key=lambda part: part[0, 0].numel())
        return smallest.flatten(start_dim=2).mean(dim=2)

    def _averaged(
        self, model: nn.Module, batch: Batch, error: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """The mean square of something over values and draws, [batch]."""
        found = [
            _mean_square(error(*self._predicted(model, draws))).reshape(draws.count, -1)
            for draws in self._draws(model, batch)
        ]
        return torch.cat(found, dim=1).mean(dim=1)

    def _predicted(self, model: nn.Module, draws: _Draws) -> tuple[Tensor, Tensor]:
        """Predictions and what they should be, [row, channel, height, width] both."""
        noisy, target = self.schedule.mixed(draws.images, draws.noise, draws.times)
        return denoised(model, noisy, draws.times, draws.condition), target

    def _draws(self, model: nn.Module, batch: Batch) -> Iterator[_Draws]:
        """The images mixed anew, some draws at a time.

        A layer sees the images of a batch once at a time and in their order, so that gradients per
        example can be read off it; a single image is run at many draws at once.
        """
        dtype = next((w.dtype for w in model.parameters() if w.is_floating_point()), torch.float32)
        if not (isinstance(batch, tuple) and len(batch) in (3, 4)):
            images, condition = self._images(batch)
            times = torch.randint(len(self.schedule), (len(images),), device=images.device)
            images = images.to(dtype)
            yield _Draws(len(images), images, condition, times, torch.randn_like(images))
            return
        images, condition, keys, *chosen = cast("tuple[Tensor, ...]", batch)
        count, images = len(images), images.to(dtype)
        every_draw = torch.arange(self.draws, device=keys.device)
        for some in chosen or torch.split(every_draw, _ROWS if count == 1 else 1):
            rows = max(count, len(some))
            own = [part.expand(rows, *part.shape[1:]) for part in (images, condition, keys, some)]
            noise = normal(own[2], own[3], images.shape[1:]).to(images)
            times = times_of(self.schedule, own[3] // self.noises, self.timesteps)
            yield _Draws(count, own[0], own[1], times, noise)

    def _all_encoded(self, pool: Pool, *, device: torch.device) -> Latents:
        parts = []
        for start in range(0, len(pool), _ENCODED):
            batch = collate(pool, every(pool)[start : start + _ENCODED], device=device)
            parts.append([part.cpu() for part in self._images(batch)])
        return Latents(*(torch.cat(own) for own in zip(*parts, strict=True)))

    def _images(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The images of a batch as the denoiser takes them, and their condition."""
        images, condition = images_of(batch, condition=self._wanted, task=type(self).__name__)
        return (images if self.encoder is None else encoded(self.encoder, images)), condition


@dataclass(frozen=True)
class _Draws:
    """Rows that a denoiser is run on: each image of a batch, or one image several times.

    Attributes:
        count: how many images they are of.
        images: [row, channel, height, width].
        condition: [row, ...]; [row, 0] where there is none.
        times: int64 [row].
        noise: as the images.
    """

    count: int
    images: Tensor
    condition: Tensor
    times: Tensor
    noise: Tensor


def _mean_square(values: Tensor) -> Tensor:
    """Over all but the first axis; summed in double precision where there is any."""
    flat = values.flatten(start_dim=1)
    if values.device.type == "mps":
        return flat.float().square().mean(dim=1)
    return flat.square().mean(dim=1, dtype=torch.float64)
