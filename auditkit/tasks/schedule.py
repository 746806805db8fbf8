"""How a diffusion model mixes images with noise, and what it is to predict of the mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor

from auditkit.errors import TaskError

Prediction: TypeAlias = Literal["epsilon", "v_prediction", "sample"]
"""What a denoiser gives: noise, velocity (Salimans and Ho 2022, section 4), or the image."""


@dataclass(frozen=True)
class Schedule:
    """A discrete schedule of noise.

    Attributes:
        kept: float32 [timestep]; the share of an image's variance that is left at each timestep
            (`alphas_cumprod`, Ho et al. 2020, section 2).
        prediction: what the denoiser gives.
    """

    kept: Tensor
    prediction: Prediction = "epsilon"

    @classmethod
    def of(cls, scheduler: object) -> Schedule:
        """The schedule of a scheduler of diffusers, or of `alphas_cumprod` itself.

        Raises:
            TaskError: the scheduler has none, or predicts something else.
        """
        if isinstance(scheduler, Schedule):
            return scheduler
        if isinstance(scheduler, Tensor):
            return cls(_checked(scheduler))
        kept = getattr(scheduler, "alphas_cumprod", None)
        config = getattr(scheduler, "config", None)
        prediction = getattr(config, "prediction_type", None)
        if not isinstance(kept, Tensor) or prediction not in get_args(Prediction):
            missing = "no alphas_cumprod" if not isinstance(kept, Tensor) else "alphas_cumprod"
            raise TaskError(
                f"The scheduler is a {type(scheduler).__name__} with {missing} and prediction type "
                f"{prediction!r}: the loss of a diffusion model needs one that predicts noise, "
                f"with alphas_cumprod and one of {', '.join(get_args(Prediction))}, such as "
                "DDPMScheduler."
            )
        return cls(_checked(kept), cast(Prediction, prediction))

    def __len__(self) -> int:
        return len(self.kept)

    def mixed(self, images: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Images with noise at timesteps, int64 [n], and what should be predicted of them."""
        kept = self.kept.to(images.device)[times].view(-1, *[1] * (images.ndim - 1))
        image_share, noise_share = kept.sqrt().to(images), (1 - kept).sqrt().to(images)
        noisy = image_share * images + noise_share * noise
        if self.prediction == "sample":
            return noisy, images
        if self.prediction == "v_prediction":
            return noisy, image_share * noise - noise_share * images
        return noisy, noise


def _checked(kept: Tensor) -> Tensor:
    """The shares, float32, if they are shares.

    Raises:
        TaskError: a tensor of another shape, or numbers outside [0, 1].
    """
    kept = kept.detach().float().cpu()
    if kept.ndim != 1 or len(kept) == 0 or not bool(((kept >= 0) & (kept <= 1)).all()):
        raise TaskError(
            f"alphas_cumprod has shape {tuple(kept.shape)} or numbers outside 0 to 1: expected the "
            "share of an image's variance that is left at each timestep, [timestep]."
        )
    return kept


def times_of(schedule: Schedule, places: Tensor, count: int) -> Tensor:
    """The timesteps in the middle of some of `count` equal parts of a schedule, int64."""
    return torch.div((2 * places + 1) * len(schedule), 2 * count, rounding_mode="floor")
