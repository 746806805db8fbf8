"""Whether the engine's settings suit this model: the self-check, and the test of the signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from auditkit.audit import SelfCheck
from auditkit.batches import batches
from auditkit.errors import SignError
from auditkit.pool import Pool, Positions
from auditkit.scores import Floats
from auditkit.seeds import stream
from auditkit.subject import Task

_OF_A_CLASS = 32


class Influence(Protocol):
    """From queries, a pool and perhaps the queries' groups to scores [query or group, example]."""

    def __call__(
        self, queries: Pool, pool: Pool, groups: Sequence[str] | None = None, /
    ) -> Floats: ...


def self_check(
    influence: Influence, task: Task, train: Pool, queries: int, candidates: int, *, seed: int
) -> SelfCheck:
    """Score a sample of training examples against a sample that holds them all.

    Args:
        influence: gives scores.
        task: whose labels, if it has classes, the signs are tested on.
        train: the train pool.
        queries: how many training examples to ask about.
        candidates: how many to score, the queries among them.
        seed: for both samples.

    Raises:
        SignError: unlearning a class helps that class.
    """
    chosen = stream(seed, "self-check").permutation(len(train))[:candidates]
    check_sign(influence, task, train, chosen)
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


def check_sign(influence: Influence, task: Task, train: Pool, chosen: Positions) -> None:
    """Unlearn examples of the largest class together: others of that class must be proponents.

    Says nothing of a task without classes, or of a class with fewer than four examples.

    Raises:
        SignError: their mean score is below zero.
    """
    if not task.has_outputs or task.likelihood != "categorical":
        return
    labels = _labels(task, train, chosen)
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


def _labels(task: Task, train: Pool, chosen: Positions) -> Positions:
    """The labels of some training examples, as the task reads them."""
    import torch  # noqa: PLC0415 - heavy imports stand inside functions here

    device = next(task.model.parameters()).device
    found = []
    with torch.no_grad():
        for _, batch in batches(train, chosen, batch_size=256, device=device):
            found.append(task.outputs(task.model, batch)[1].cpu().numpy())
    return np.concatenate(found)
