"""What can be set on the tracing audit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from auditkit import AuditContext, Settings


class TracingSettings(Settings):
    """What can be set on the tracing audit."""

    query: tuple[str, ...] = Field(
        default=(),
        description="The id of an evaluation example whose prediction is traced, or without an "
        "evaluation set of a training example; by default the five worst mistakes.",
    )
    about: Literal["prediction", "label"] = Field(
        default="prediction",
        description="Whether what the model predicts of an example is traced, or its given label.",
    )
    prompt: str | None = Field(
        default=None, description="For language models: what the model is given."
    )
    completion: str | None = Field(
        default=None,
        description="What the model writes after the prompt; by default what it does write.",
    )
    queries: Path | None = Field(
        default=None,
        description="For language models: a file with a JSON object a line, each with a prompt, "
        "and if you like a completion, an id and a group: one behaviour in many prompts.",
    )
    tokens: int = Field(
        default=12,
        ge=1,
        description="How many tokens the model writes where a completion is missing.",
    )
    together: bool = Field(
        default=False, description="Trace all queries together, as one behaviour."
    )
    by: str | None = Field(
        default=None,
        description="A metadata column, such as a source: it is told which of its values taught "
        "the behaviour.",
    )
    keep: int = Field(
        default=50,
        ge=1,
        description="How many proponents, and as many opponents, the findings keep per behaviour.",
    )
    threshold: float = Field(
        default=0.8,
        gt=0,
        lt=1,
        description="Probability of standing out from which on a training example is flagged.",
    )
    decoys: int = Field(
        default=16,
        ge=0,
        description="How many behaviours that nothing taught are traced as well, to know what "
        "scores training examples have by chance; 0 for none, and no probabilities.",
    )
    measure: Literal["auto", "loss", "tokens", "both"] = Field(
        default="auto",
        description="What is read off a training example: the change of its loss, for texts the "
        "largest change of one of its tokens, or both together, which is the default for texts.",
    )
    rise: float | None = Field(
        default=None,
        gt=0,
        description="How far a behaviour is unlearned, in nats; by default 3 for texts, else 0.1.",
    )
    parameters: str | None = Field(
        default=None,
        description="Patterns of the names of the parameters that move, separated by |; by default "
        "all, of language models all but embeddings and head.",
    )
    replays: bool = Field(
        default=True,
        description="For classifiers of up to a moderate size whose recipe is known: average over "
        "the model and four replays of it, copies shrunk toward fresh weights and trained again "
        "for a few epochs, which foretells retraining better.",
    )
    confirm: bool = Field(
        default=False,
        description="Train again without the first proponents, without as many random examples, "
        "and without what retrieval finds first, and compare the behaviour's probability.",
    )
    confirm_count: int = Field(
        default=10, ge=1, description="How many proponents of each behaviour --confirm leaves out."
    )
    confirm_seeds: int = Field(
        default=3, ge=1, description="How many trainings of each kind --confirm makes."
    )
    confirm_epochs: int = Field(
        default=0,
        ge=0,
        description="Epochs of these trainings; 0 for those of the recipe, or if it is not known, "
        "for as many as make a model as good on its training examples.",
    )
    confirm_rate: float | None = Field(
        default=None, gt=0, description="Their learning rate; by default that of the recipe."
    )


Context: TypeAlias = AuditContext[TracingSettings]
"""What every part of the audit is given."""
