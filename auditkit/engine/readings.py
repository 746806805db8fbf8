"""What the trained model says of examples as they are: losses, outputs, features."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.engine.passes import Executor, at_least_single, common_numbers
from auditkit.errors import TaskError
from auditkit.pool import Pool, Positions
from auditkit.scores import Evaluation, Floats
from auditkit.subject import Task

if TYPE_CHECKING:
    from auditkit.subject import Batch


def evaluate(task: Task, model: nn.Module, pool: Pool, executor: Executor) -> Evaluation:
    """Loss of each example under the model, and outputs and targets where the task has them.

    Those of documents are no table, and left out; so are several of each example, one for each
    draw.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite.
        TaskError: outputs that are no table.
    """
    loss = executor.measure(task.loss, model, pool).numpy().astype(np.float32)
    if not task.has_outputs or task.likelihood == "tokens" or task.draws > 1:
        return Evaluation(pool.ids, loss)

    def run(batch: Batch, where: Positions) -> Tensor:
        with common_numbers(pool, where):
            outputs, targets = task.outputs(model, batch)
        if outputs.ndim != 2 or len(outputs) != len(where):
            raise TaskError(
                f"{type(task).__name__}.outputs gives outputs of shape {tuple(outputs.shape)} for "
                f"{len(where)} examples: expected one row per example, [batch, k]."
            )
        return torch.cat([outputs.double(), targets.reshape(len(where), -1).double()], dim=1)

    with torch.no_grad():
        table = executor.each(pool, run, doing="asking the model").numpy()
    if task.likelihood == "categorical":
        targets = table[:, -1].astype(np.int64)
        return Evaluation(pool.ids, loss, table[:, :-1].astype(np.float32), targets)
    width = table.shape[1] // 2
    return Evaluation(
        pool.ids, loss, table[:, :width].astype(np.float32), table[:, width:].astype(np.float32)
    )


def features(
    task: Task,
    model: nn.Module,
    pool: Pool,
    executor: Executor,
    *,
    batch_size: int | None = None,
) -> Floats:
    """The task's features of each example, float32 [example, feature].

    Where it has none, what goes into the linear layer the model runs last; where that is a
    sequence, [batch, ..., feature], its mean over all positions.

    Args:
        task: runs the model.
        model: whose features are read.
        pool: the examples.
        executor: runs the passes.
        batch_size: at most so many examples at once; by default the executor's.

    Raises:
        TaskError: the model runs no linear layer.
    """
    if type(task).features is not Task.features:
        return _own_features(task, model, pool, executor, batch_size)
    last = _last_linear(task, model, pool, executor.device)
    seen = _Seen(task, model, pool, last)
    with seen, torch.no_grad():
        if seen.in_order(executor):
            table = executor.each(pool, seen.rows, batch_size=batch_size, doing="reading features")
        else:
            table = executor.each(pool, seen.rows, batch_size=1, doing="reading features")
    return table.float().numpy()


def _own_features(
    task: Task, model: nn.Module, pool: Pool, executor: Executor, batch_size: int | None
) -> Floats:
    def run(batch: Batch, where: Positions) -> Tensor:
        with common_numbers(pool, where):
            return task.features(model, batch).float()

    with torch.no_grad():
        found: Floats = executor.each(
            pool, run, batch_size=batch_size, doing="reading features"
        ).numpy()
    if found.ndim != 2:
        raise TaskError(
            f"The features of {type(task).__name__} have the shape {found.shape}: expected a row "
            "per example, [batch, feature]."
        )
    return found


class _Seen:
    """What goes into a layer, watched while it is entered."""

    def __init__(self, task: Task, model: nn.Module, pool: Pool, layer: nn.Linear) -> None:
        self.task, self.model, self.pool, self.layer = task, model, pool, layer
        self._taken: list[Tensor] = []

    def __enter__(self) -> None:
        self._hook = self.layer.register_forward_pre_hook(self._keep, with_kwargs=True)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def in_order(self, executor: Executor) -> bool:
        """Whether examples have the same rows in a batch, in two orders, as alone.

        They have not where the model sorts its batch, or sends each example through some layers.
        """
        some = np.unique(np.linspace(0, len(self.pool) - 1, 4).astype(np.int64))
        alone = [
            self.rows(collate(self.pool, p[None], device=executor.device), p[None]) for p in some
        ]
        for order in (np.arange(len(some)), np.arange(len(some))[::-1]):
            where = some[order]
            values = self._values(collate(self.pool, where, device=executor.device), where)
            if len(values) != len(where):
                return False
            expected = torch.cat([alone[place] for place in order])
            if not torch.allclose(_flat(values), expected, rtol=1e-2, atol=1e-5):
                return False
        return True

    def rows(self, batch: Batch, where: Positions) -> Tensor:
        """One row per example, [batch, feature].

        Raises:
            TaskError: the layer sees another number of rows.
        """
        values = self._values(batch, where)
        if len(values) != len(where):
            raise TaskError(
                f"The model's last linear layer sees {len(values)} rows for {len(where)} examples: "
                "features need one row, or one sequence, per example."
            )
        return _flat(values)

    def _values(self, batch: Batch, where: Positions) -> Tensor:
        self._taken.clear()
        with common_numbers(self.pool, where):
            self.task.loss(self.model, batch)
        return self._taken[-1] if self._taken else torch.empty(0, 0)

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        self._taken.append((inputs[0] if inputs else named["input"]).detach())


def _flat(values: Tensor) -> Tensor:
    """The mean over all positions of each example, [n, feature]."""
    flat = values.reshape(len(values), -1, values.shape[-1]).mean(dim=1)
    return flat.to(at_least_single(flat.dtype))


def _last_linear(task: Task, model: nn.Module, pool: Pool, device: torch.device) -> nn.Linear:
    called: list[nn.Linear] = []

    def note(module: nn.Module, _: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Linear):
            called.append(module)

    where = np.arange(1)
    with ExitStack() as hooks, torch.no_grad(), common_numbers(pool, where):
        for module in model.modules():
            if isinstance(module, nn.Linear):
                hooks.callback(module.register_forward_pre_hook(note).remove)
        task.loss(model, collate(pool, where, device=device))
    if not called:
        raise TaskError(
            f"The model, a {type(model).__name__}, runs no torch.nn.Linear layer, whose inputs "
            "would be its features."
        )
    return called[-1]
