"""Whether the engine's settings suit this model: the self-check, and the test of the signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from auditkit.batches import batches
from auditkit.errors import SignError
from auditkit.pool import Pool, Positions
from auditkit.results import SelfCheck
from auditkit.scores import Floats
from auditkit.seeds import stream
from auditkit.subject import Task

_OF_A_CLASS = 32


class Influence(Protocol):
    """Gives scores."""

    def __call__(self, queries: Pool, pool: Pool, groups: Sequence[str] | None = None, /) -> Floats:
        """Scores of queries, or of groups of them, on a pool: [query or group, example]."""


def self_check(
    influence: Influence, train: Pool, queries: int, candidates: int, *, seed: int
) -> SelfCheck:
    """Score a sample of training examples against a sample that holds them all.

    Args:
        influence: gives scores.
        train: the train pool.
        queries: how many training examples to ask about.
        candidates: how many to score, the queries among them.
        seed: for both samples.
    """
    chosen = stream(seed, "self-check").permutation(len(train))[:candidates]
    asked = chosen[:queries]
    values = influence(train.subset(asked), train.subset(chosen))
    own = values[np.arange(len(asked)), np.arange(len(asked))]
    # Ties, with itself left out, count half: else scores that are all alike would pass.
    ties = (values == own[:, None]).sum(axis=1) - 1
    better = (values > own[:, None]).sum(axis=1) + ties / 2
    return SelfCheck(
        queries=len(asked),
        candidates=len(chosen),
        top1=float((better < 1).mean()),
        top5=float((better < 5).mean()),
    )


def failure(result: SelfCheck) -> str | None:
    """A sentence for the user where it failed; None elsewhere."""
    if result.passed:
        return None
    return (
        f"The self-check failed: {result.top1:.0%} of {result.queries} training examples find "
        "themselves first. Scores of single examples are not to be trusted here; try another "
        "measure, a smaller damping or a smaller rise."
    )


def check_sign(
    influence: Influence, task: Task, model: nn.Module, train: Pool, candidates: int, *, seed: int
) -> None:
    """Unlearn examples of the largest class together: others of that class must be proponents.

    Says nothing of a task without classes, or of a class with fewer than four examples.

    Args:
        influence: gives scores.
        task: whose labels are taken.
        model: the engine's own copy of the model, to read them with.
        train: the train pool.
        candidates: how many training examples to look at.
        seed: for the sample.

    Raises:
        SignError: the mean score of the others is below zero.
    """
    if not task.has_outputs or task.likelihood != "categorical":
        return
    chosen = stream(seed, "sign check").permutation(len(train))[:candidates]
    labels = _labels(task, model, train, chosen)
    classes, counts = np.unique(labels, return_counts=True)
    own = chosen[labels == classes[counts.argmax()]][: 2 * _OF_A_CLASS]
    half = len(own) // 2
    if half < 2:
        return
    values = influence(train.subset(own[:half]), train.subset(own[half:]), ["class"] * half)
    if values.mean() < 0:
        raise SignError(
            f"Unlearning class {classes[counts.argmax()]} lowers the loss of its own training "
            f"examples (mean score {values.mean():.3g}, expected above zero): the update goes the "
            "wrong way or too far; lower the rise, or use another preconditioner."
        )


def _labels(task: Task, model: nn.Module, train: Pool, chosen: Positions) -> Positions:
    """The labels of some training examples, as the task reads them."""
    device = next(model.parameters()).device
    with torch.no_grad():
        found = [
            task.outputs(model, batch)[1].cpu().numpy()
            for _, batch in batches(train, chosen, batch_size=256, device=device)
        ]
    return np.concatenate(found)
