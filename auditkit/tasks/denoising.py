"""The forms that images, conditions, denoisers and encoders may have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.errors import TaskError
from auditkit.pool import Pool, Positions
from auditkit.subject import TARGET_KEYS

if TYPE_CHECKING:
    from auditkit.subject import Batch

Encoder: TypeAlias = Union[nn.Module, Callable[[Tensor], Tensor]]
"""From images to latents: an autoencoder of diffusers, or any function."""

Wanted: TypeAlias = Literal["no", "maybe", "yes"]
"""Whether a denoiser takes a condition."""

_IMAGE_KEYS = ("image", "images", "pixel_values", "input", "inputs")
_CONDITION_KEYS = ("condition", "prompt_embeds", "class_labels", *TARGET_KEYS)
_CPU = torch.device("cpu")


class Keyed(NamedTuple):
    """One image as the task has it measured; other triples are none."""

    image: Tensor
    condition: Tensor
    key: Tensor


class WithKeys:
    """Images as (image, condition, key) triples.

    Args:
        source: the images, in any form that `images_of` takes.
        keys: int64 [image].
        condition: whether the denoiser takes one.
        task: the task's name, for messages.
    """

    def __init__(self, source: Pool, keys: Tensor, *, condition: Wanted, task: str) -> None:
        self._source, self._keys = source, keys
        self._condition, self._task = condition, task

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, position: int) -> Keyed:
        return Keyed(*(part[0] for part in self.rows(np.array([position]))))

    def rows(self, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        """Images, conditions ([batch, 0] where there are none) and keys."""
        batch = collate(self._source, positions, device=_CPU)
        images, condition = images_of(batch, condition=self._condition, task=self._task)
        return images, condition, self._keys[positions]


def images_of(batch: Batch, *, condition: Wanted, task: str) -> tuple[Tensor, Tensor]:
    """Images, float [batch, channel, height, width], and conditions, [batch, 0] for none.

    Raises:
        TaskError: a batch of another form, or without the condition that the denoiser needs.
    """
    images, given = _parts(batch)
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        got = (
            f"{images.dtype} of shape {tuple(images.shape)}".removeprefix("torch.")
            if isinstance(images, Tensor)
            else f"a {type(images).__name__}"
        )
        raise TaskError(
            f"{task} got {got} for images: expected floating-point numbers [batch, channel, height,"
            " width], as the denoiser takes them."
        )
    if condition == "no" or given is None:
        if condition == "yes":
            raise TaskError(
                "The denoiser takes a condition and the examples have none: give (image, class) or "
                "(image, prompt embedding) pairs."
            )
        return images, images.new_empty(len(images), 0)
    if not isinstance(given, Tensor) or len(given) != len(images):
        raise TaskError(
            f"{task} got conditions that are no tensor with a row per image: give a class as a "
            "whole number, or a prompt embedding."
        )
    return images, given


def denoised(model: nn.Module, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
    """What a denoiser predicts, of the shape of what it is given.

    Raises:
        TaskError: it gives something else.
    """
    given = [noisy, times]
    if condition.numel():
        given.append(condition.to(noisy.dtype) if condition.is_floating_point() else condition)
    found = model(*given)
    found = getattr(found, "sample", found)
    found = found[0] if isinstance(found, tuple | list) else found
    if not isinstance(found, Tensor):
        raise TaskError(
            f"The denoiser, a {type(model).__name__}, gives a {type(found).__name__}: expected a "
            "tensor, or an object with `.sample`."
        )
    if found.ndim == noisy.ndim and found.shape[1] == 2 * noisy.shape[1]:
        found = found.chunk(2, dim=1)[0]
    if found.shape != noisy.shape:
        raise TaskError(
            f"The denoiser gives a prediction of shape {tuple(found.shape)} for images of shape "
            f"{tuple(noisy.shape)}: expected the same."
        )
    return found


def wants_condition(model: nn.Module) -> Wanted:
    """Whether a denoiser takes a condition, by its configuration or its signature."""
    config = getattr(model, "config", None)
    if hasattr(config, "num_class_embeds"):  # the U-Nets of diffusers
        kinds = ("num_class_embeds", "class_embed_type")
        classes = any(getattr(config, kind, None) is not None for kind in kinds)
        return "yes" if classes or hasattr(config, "cross_attention_dim") else "no"
    parameters = [
        own
        for own in inspect.signature(model.forward).parameters.values()
        if own.kind in (own.POSITIONAL_ONLY, own.POSITIONAL_OR_KEYWORD)
    ]
    if len(parameters) < 3:
        return "no"
    return "yes" if parameters[2].default is inspect.Parameter.empty else "maybe"


def encoded(encoder: Encoder, images: Tensor) -> Tensor:
    """Images as what a latent denoiser works on; the mean, where the encoder gives a distribution.

    An encoder with weights runs where these are.

    Raises:
        TaskError: the encoder gives something else.
    """
    place = images.device
    with torch.no_grad():
        if isinstance(encoder, nn.Module):
            weight = next(encoder.parameters(), None)
            images = images if weight is None else images.to(weight)
        found: object = _latents(encoder, images) if hasattr(encoder, "encode") else None
        found = encoder(images) if found is None else found
    if not isinstance(found, Tensor) or len(found) != len(images) or found.ndim != 4:
        raise TaskError(
            f"The encoder, a {type(encoder).__name__}, gives no latents [batch, channel, height, "
            "width] for its images: give a function that does, or an autoencoder of diffusers."
        )
    return found.detach().to(place)


def _latents(encoder: Encoder, images: Tensor) -> object:
    """What an autoencoder of diffusers gives, on the scale that its denoiser was trained on."""
    found = encoder.encode(images)  # type: ignore[union-attr,operator]  # looked for before
    spread = getattr(found, "latent_dist", None)
    latents: Tensor = getattr(found, "latents", found) if spread is None else spread.mean
    config = getattr(encoder, "config", None)
    scale = getattr(config, "scaling_factor", None) or 1.0
    mean, spreads = (getattr(config, f"latents_{name}", None) for name in ("mean", "std"))
    if mean is not None and spreads is not None:  # per channel, as some models of SDXL's kind
        mean, spreads = (latents.new_tensor(own).view(1, -1, 1, 1) for own in (mean, spreads))
        return (latents - mean) * scale / spreads
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * scale


def _parts(batch: Batch) -> tuple[object, object]:
    """Images and conditions, as they are found."""
    if isinstance(batch, Mapping):
        images = next((batch[key] for key in _IMAGE_KEYS if key in batch), None)
        return images, next((batch[key] for key in _CONDITION_KEYS if key in batch), None)
    if isinstance(batch, tuple | list) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


class Latents:
    """Images that were encoded, with their conditions; [image, 0] for none."""

    def __init__(self, latents: Tensor, condition: Tensor) -> None:
        self._latents, self._condition = latents, condition

    def __len__(self) -> int:
        return len(self._latents)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        return self._latents[position], self._condition[position]

    def rows(self, positions: Positions) -> tuple[Tensor, Tensor]:
        """Latents and conditions."""
        return self._latents[positions], self._condition[positions]
