"""The train side by outputs: how far what the model gives for an example moves, whatever its loss.

Unlearning a query also moves the outputs of what is like it, for better or worse; the loss shows
only the part along its slope. The mean square of that move has no sign: it finds what the query
touches, and tells no opponents from proponents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.engine.outputs import outputs_of
from auditkit.engine.passes import Executor, Weights, at_least_single, call, common_numbers
from auditkit.pool import Pool, Positions
from auditkit.subject import Task

if TYPE_CHECKING:
    from auditkit.subject import Batch

_NUMBERS = 2**24
"""How many outputs are held at once, of the trained model and of a moved one: 64 MiB each."""


def output_changes(
    task: Task, model: nn.Module, pool: Pool, weights: Sequence[Weights], *, executor: Executor
) -> Tensor:
    """Mean squared changes of each example's outputs under each of some weights, [q, example].

    The trained model is run once for all of them.

    Args:
        task: gives the outputs.
        model: the trained model, in evaluation mode.
        pool: the examples.
        weights: the moved weights of each query.
        executor: runs the passes.
    """

    def outputs(model: nn.Module, batch: Batch) -> Tensor:
        return outputs_of(task, model, batch)

    def run(batch: Batch, where: Positions) -> Tensor:
        found = []
        with common_numbers(pool, where):
            base = outputs(model, batch)
        for own in weights:
            with common_numbers(pool, where):
                moved = call(outputs, model, batch, own)
            change = moved.to(at_least_single(moved.dtype)) - base
            found.append(change.square().mean(dim=1))
        return torch.stack(found, dim=1)

    with torch.no_grad():
        first = collate(pool, np.zeros(1, dtype=np.int64), device=executor.device)
        size = max(_NUMBERS // outputs(model, first).shape[1], 1)
        return executor.each(pool, run, batch_size=size, doing="measuring the outputs").T
