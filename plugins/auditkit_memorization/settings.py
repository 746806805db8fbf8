"""What can be set on the memorization audit."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from pydantic import Field

from auditkit import AuditContext, InfluenceSettings

_STEPS = 250
"""Optimizer steps of a replay: fewer, and it does not know the classes yet."""

_EPOCHS = (4, 60)
"""The fewest and the most epochs of a replay where the setting leaves it to the audit."""


class MemorizationSettings(InfluenceSettings):
    """What can be set on the memorization audit."""

    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="Memorization from which on an example is flagged."
    )
    folds: int = Field(
        default=2,
        ge=2,
        description="Into how many parts the data is held out; with two, models without an "
        "example have half of the data.",
    )
    epochs: int = Field(
        default=0,
        ge=0,
        description="Epochs of replay per fold; 0 for as many as make 250 steps, four to sixty.",
    )
    repeats: int = Field(
        default=2, ge=1, description="How many times the folds are held out, each time others."
    )
    retrainings: int = Field(
        default=4,
        ge=0,
        description="Trainings from scratch on random halves, which calibrate the estimates; 0 for "
        "none, which is quicker and not calibrated.",
    )
    verbatim: int = Field(
        default=16,
        ge=1,
        description="For texts: memorized ones of which the model writes so many tokens by itself, "
        "or half of a shorter one, are called verbatim.",
    )
    canaries: Path | None = Field(
        default=None,
        description="For texts: a file of planted canaries, one a line, each with digits in it.",
    )
    by: str | None = Field(
        default=None,
        description="A metadata column to compare groups by; by default every one of few values.",
    )
    pairs: int = Field(
        default=1_000,
        ge=0,
        description="How many evaluation examples are asked which memorized ones they lean on.",
    )
    confirm: bool = Field(
        default=False,
        description="Train again with and without the most memorized examples, and compare "
        "accuracies, or losses of texts.",
    )
    leave_out: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="The share of the training examples that --confirm leaves out.",
    )
    confirm_seeds: int = Field(
        default=3, ge=2, description="How many trainings of each kind --confirm makes."
    )

    def replay_epochs(self, count: int, batch_size: int) -> int:
        """Epochs of replay per fold for a pool of `count`: as set, or what makes enough steps."""
        if self.epochs:
            return self.epochs
        steps = count * (1 - 1 / self.folds) / batch_size
        return int(np.clip(round(_STEPS / steps), *_EPOCHS))


Context: TypeAlias = AuditContext[MemorizationSettings]
"""What every part of the audit is given."""
