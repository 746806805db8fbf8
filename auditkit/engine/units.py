"""What a rise of 1 is."""

from __future__ import annotations

import numpy as np
from torch import nn

from auditkit.engine.passes import Executor
from auditkit.pool import Pool
from auditkit.subject import Task

_SAMPLE = 2_048
"""How many losses make the unit: of training examples, or of draws of them."""


def unit_of_rises(task: Task, model: nn.Module, train: Pool, executor: Executor) -> float:
    """One nat for classes and tokens; elsewhere the mean loss of the training examples.

    A squared error has the unit of its targets, so a number alone would say nothing.
    """
    if task.likelihood in ("categorical", "tokens"):
        return 1.0
    count = min(max(_SAMPLE // task.draws, 1), len(train))
    places = np.unique(np.linspace(0, len(train) - 1, count).astype(np.int64))
    losses = executor.measure(task.loss, model, train, positions=places)
    mean = float(losses.double().abs().mean())
    return mean if mean > 0 else 1.0
