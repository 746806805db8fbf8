"""What would end in an error of torch's own, tried on a few examples and said in a sentence."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from auditkit.batches import collate
from auditkit.checks import per_example
from auditkit.engine.passes import Function, LocalExecutor, common_numbers, draws, out_of_memory
from auditkit.errors import ReducedLossError, TaskError
from auditkit.pool import Pool
from auditkit.subject import Task

_COMPARED = 4


class Trials:
    """What is tried once, before the first scores, and of every pool that is given.

    Args:
        task: gives the loss.
        model: the engine's copy of the trained model.
        train: the train pool.
        executor: runs the passes; its batches become single examples where a measure draws.
    """

    def __init__(self, task: Task, model: nn.Module, train: Pool, executor: LocalExecutor) -> None:
        self._task, self._model, self._train = task, model, train
        self._executor = executor
        self._sound, self._drew = False, False
        self._asked: set[Function] = set()

    def of(self, *measures: Function, queries: Pool, pool: Pool) -> str | None:
        """Try everything; a sentence the first time, where a measure draws random numbers.

        What is drawn in a batch depends on what else is in it. So passes are then of one example
        each, and the numbers its own.

        Raises:
            ReducedLossError: the loss is not each example's own.
            TaskError: the model cannot be run on the first example of a pool.
        """
        device = self._executor.device
        if not self._sound:
            check_loss(self._task, self._model, self._train, device)
            self._sound = True
        for name, one in (("queries", queries), ("pool", pool)):
            if one is not self._train:
                check_runs(self._task, self._model, one, device, what=name)
        asked, self._asked = set(measures) - self._asked, self._asked | set(measures)
        if self._drew or not any(draws(one, self._model, self._train, device) for one in asked):
            return None
        self._drew, self._executor.batch_size = True, 1
        return (
            "The task's measure draws random numbers: examples are measured one at a time, so that "
            "each has its own; draw them by the example in the task to be faster."
        )


def check_runs(
    task: Task, model: nn.Module, pool: Pool, device: torch.device, *, what: str
) -> None:
    """Try the task's loss on the first example of a pool.

    Raises:
        TaskError: the model cannot be run on it: features of another number or kind, most likely.
    """
    first = np.zeros(1, dtype=np.int64)
    try:
        with torch.no_grad(), common_numbers(pool, first):
            task.loss(model, collate(pool, first, device=device))
    except (RuntimeError, IndexError) as error:
        if out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise TaskError(
            f"The model cannot be run on example {pool.ids[0]!r} of the {what} ({reason}): give "
            "examples of the form that it was trained on."
        ) from error


def check_loss(task: Task, model: nn.Module, pool: Pool, device: torch.device) -> None:
    """Refuse a loss that is the batch's and not each example's, on a few examples.

    Raises:
        ReducedLossError: every example has the same loss, and another one when it is alone.
        TaskError: a layer whose output for an example depends on the others of its batch.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise TaskError(
                f"The layer {name!r} ({type(layer).__name__}) keeps no running statistics, so "
                "what it gives for an example depends on the others of its batch: train it with "
                "track_running_stats=True."
            )
    places = np.unique(np.linspace(0, len(pool) - 1, _COMPARED).astype(np.int64))
    check_runs(task, model, pool, device, what="train pool")
    with torch.no_grad(), common_numbers(pool, places):
        together = task.loss(model, collate(pool, places, device=device))
    per_example(together, pool, places)
    if len(places) == 1 or not bool((together == together[0]).all()):
        return
    with torch.no_grad(), common_numbers(pool, places[:1]):
        alone = task.loss(model, collate(pool, places[:1], device=device))
    if not torch.allclose(alone, together[:1], rtol=1e-3, atol=1e-6):
        raise ReducedLossError(
            f"The task's `loss` gave {float(together[0]):.4g} for each of {len(places)} examples "
            f"and {float(alone[0]):.4g} for the first of them alone: return each example's own "
            'loss, e.g. torch.nn.functional.cross_entropy(..., reduction="none").'
        )
