"""A subject small enough for a test, and real: handwritten digits and a model trained on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auditkit.pool import Pool

if TYPE_CHECKING:
    from auditkit.subject import Likelihood, Subject


def tiny_subject(
    *,
    examples: int = 240,
    queries: int = 0,
    likelihood: Likelihood = "categorical",
    epochs: int = 20,
    seed: int = 0,
) -> Subject:
    """A subject of handwritten digits, 5 % of them under a wrong label, with a trained model.

    Args:
        examples: in the train pool.
        queries: how many further digits are its queries; none by default.
        likelihood: of the task: class scores, or the digit as a real number.
        epochs: of training.
        seed: for labels, weights and training.
    """
    from auditkit.demo import digits  # noqa: PLC0415 - brings torch

    whole = digits(examples=examples + queries, epochs=epochs, seed=seed).subject
    train = whole.train.subset(np.arange(examples))
    held = whole.train.subset(np.arange(examples, examples + queries)) if queries else None
    subject = replace(whole, train=train, queries=held, name="tiny digits", description=())
    return (
        subject if likelihood == "categorical" else _regression(subject, epochs=epochs, seed=seed)
    )


def _regression(subject: Subject, *, epochs: int, seed: int) -> Subject:
    from torch import nn  # noqa: PLC0415 - heavy, as the next ones

    from auditkit.seeds import seeded  # noqa: PLC0415
    from auditkit.tasks import RegressionTask  # noqa: PLC0415
    from auditkit.training import fit  # noqa: PLC0415

    def values(pool: Pool) -> Pool:
        rows = [pool[position] for position in range(len(pool))]
        pairs = [row for row in rows if isinstance(row, tuple)]
        images = np.stack([np.asarray(image).ravel() for image, _ in pairs])
        targets = np.array([[float(label)] for _, label in pairs], dtype=np.float32)
        return Pool.from_arrays(images, targets, ids=pool.ids)

    with seeded(seed):
        task = RegressionTask(nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 1)))
    train = values(subject.train)
    recipe = replace(subject.recipe, epochs=epochs)
    fit(task.model, task, train, recipe, seed=seed)
    held = None if subject.queries is None else values(subject.queries)
    return replace(subject, task=task, train=train, queries=held, recipe=recipe)
