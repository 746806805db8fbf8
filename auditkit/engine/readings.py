"""What the trained model says of examples as they are: losses, outputs, features."""

from __future__ import annotations

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

    Raises:
        NonFiniteLossError: a loss is NaN or infinite.
        TaskError: outputs that are no table.
    """
    loss = executor.measure(task.loss, model, pool).numpy().astype(np.float32)
    if not task.has_outputs:
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


def features(task: Task, model: nn.Module, pool: Pool, executor: Executor) -> Floats:
    """What goes into the linear layer the model runs last, float32 [example, feature].

    Where that is a sequence, [batch, ..., feature], its mean over all positions.

    Raises:
        TaskError: the model runs no linear layer.
    """
    last = _last_linear(task, model, pool, executor.device)
    taken: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        taken.append(inputs[0].detach())

    def run(batch: Batch, where: Positions) -> Tensor:
        taken.clear()
        with common_numbers(pool, where):
            task.loss(model, batch)
        values = taken[-1]
        if len(values) != len(where):
            raise TaskError(
                f"The model's last linear layer sees {len(values)} rows for {len(where)} examples: "
                "features need one row, or one sequence, per example."
            )
        flat = values.reshape(len(where), -1, values.shape[-1]).mean(dim=1)
        return flat.to(at_least_single(flat.dtype))

    hook = last.register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            table = executor.each(pool, run, doing="reading features")
    finally:
        hook.remove()
    return table.float().numpy()


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
