"""What can be set on the mirror audit, and what a run of it measures."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from auditkit import Settings
from auditkit_mirror.convex import Optimum
from auditkit_mirror.network import NetworkStudy
from auditkit_mirror.plan import Plan
from auditkit_mirror.probe import Material, Probe
from auditkit_mirror.study import Asked, ConvexMirror


class MirrorSettings(Settings):
    """What can be set on the mirror audit."""

    budget: float = Field(
        default=10.0, gt=0, le=10_000, description="How many minutes the run may take, about."
    )
    queries: int = Field(
        default=10,
        ge=1,
        le=200,
        description="How many queries of the linear model are asked: those it predicts worst.",
    )
    decay: float = Field(
        default=0.01, gt=0, description="Weight decay of the linear model on the features."
    )


@dataclass(frozen=True)
class Measured:
    """Everything a run measured.

    Attributes:
        material: features and targets.
        probe: the linear model's data.
        optimum: the linear model.
        asked: its queries.
        mirror: both influences on it.
        network: the noisy study; None where it was left out.
        plan: what the budget allowed.
    """

    material: Material
    probe: Probe
    optimum: Optimum
    asked: Asked
    mirror: ConvexMirror
    network: NetworkStudy | None
    plan: Plan
