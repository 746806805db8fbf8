"""What can be set on the diffusion audit."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from auditkit import AuditContext, Settings


class DiffusionSettings(Settings):
    """What can be set on the diffusion audit."""

    measure: Literal["loss", "squared-norm", "outputs"] = Field(
        default="loss",
        description="What is measured: the loss; the mean square of the prediction, on both sides "
        "(as in D-TRAK); or how far the training images' predictions move, which has no sign.",
    )
    rise: float = Field(
        default=0.5,
        gt=0,
        description="How far a generated image's measure is raised, in units of the mean training "
        "loss.",
    )
    draws: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Pairs of a timestep and a noise per image; 0 for as many as the variance of "
        "the scores asks for, 4 to 64.",
    )
    relative: bool = Field(
        default=False,
        description="Divide each score by the root of the training image's influence on itself, "
        "where the same images come first for everything.",
    )
    kept: int = Field(
        default=25,
        ge=1,
        description="How many proponents and opponents of each generated image are kept.",
    )
    noises: int = Field(
        default=2, ge=0, description="Under how many other noises the ranking is checked."
    )


Context: TypeAlias = AuditContext[DiffusionSettings]
"""What every part of the audit is given."""
