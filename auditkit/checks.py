"""What a task's numbers must be: one per example, and finite."""

from __future__ import annotations

import torch
from torch import Tensor

from auditkit.errors import NonFiniteLossError, ReducedLossError, TaskError
from auditkit.pool import Pool, Positions


def per_example(values: Tensor, pool: Pool, positions: Positions, *, what: str = "loss") -> Tensor:
    """The values as given, if they are finite and there is one for each of the batch's examples.

    Args:
        values: what the task returned, [batch].
        pool: where the batch is from.
        positions: int64 [batch]; which of its examples the batch holds.
        what: the method of the task that returned them, for the message.

    Raises:
        ReducedLossError: values of another shape than [batch].
        NonFiniteLossError: a value is NaN or infinite; the message names the first such example.
    """
    if values.shape != (len(positions),):
        got = "one number" if values.ndim == 0 else f"shape {tuple(values.shape)}"
        raise ReducedLossError(
            f"The task's `{what}` gave {got} for a batch of {len(positions)} examples: return one "
            'number per example, e.g. torch.nn.functional.cross_entropy(..., reduction="none").'
        )
    finite = torch.isfinite(values.detach())
    if not bool(finite.all()):
        place = int(finite.int().argmin())
        value = float(values.detach()[place])
        raise NonFiniteLossError(
            f"The {what} of example {pool.ids[int(positions[place])]!r} is {value}: "
            "look for NaN or infinite inputs there, or train with a lower learning rate."
        )
    return values


def output_table(outputs: Tensor, *, task: str) -> Tensor:
    """The outputs as given, if they are a table with a row per example.

    Raises:
        TaskError: outputs of another shape than [batch, k].
    """
    if outputs.ndim != 2:
        raise TaskError(
            f"{task}.outputs gives scores or predictions of shape {tuple(outputs.shape)}, and "
            'curvature needs [batch, k]: give one row per example, or use preconditioner="none".'
        )
    return outputs
