"""What scores will cost, in plain inference passes over the pool, before any is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from auditkit.batches import collate
from auditkit.engine.passes import Function, common_numbers
from auditkit.gradients import plain_kernels
from auditkit.pool import Pool

_BACKWARD = 3.0
"""A forward pass and a backward one that computes no gradients of weights, and what they cost."""

_TANGENT = 2.6


@dataclass(frozen=True)
class Cost:
    """Estimates in plain inference passes over the pool, the base pass not counted.

    Attributes:
        finite: one pass per query and model; documents take less of further models where these are
            asked about candidates alone.
        tangent: one pass with a derivative carried along, per query and model.
        products: one pass forward and backward for every block of queries, and products with all
            directions.
        replays: what training the replays takes beside, once per engine; 0 without replays.
    """

    finite: float
    tangent: float
    products: float
    replays: float = 0.0

    @property
    def first_order(self) -> float:
        """The cheaper of the two ways to first-order scores."""
        return min(self.tangent, self.products)


def cost(
    function: Function,
    model: nn.Module,
    pool: Pool,
    *,
    rows: int,
    blocks: int,
    moving: int,
    models: int,
    replays: float = 0.0,
) -> Cost:
    """Count what scores of so many rows would cost.

    Args:
        function: the train-side measure.
        model: the trained model.
        pool: the examples to score.
        rows: queries, or groups of them.
        blocks: how many blocks of queries `products` takes the pool through for, one after another.
        moving: how many numbers move.
        models: the model and its checkpoints, and their replays.
        replays: passes over the pool that training the replays takes.
    """
    once = max(operations(function, model, pool), 2 * moving, 1)
    each = _BACKWARD * blocks + 2 * moving * rows / once
    return Cost(
        finite=float(rows * models),
        tangent=_TANGENT * rows * models,
        products=each * models,
        replays=replays,
    )


def operations(function: Function, model: nn.Module, pool: Pool) -> int:
    """Floating-point operations of the function on the pool's first example, those of matrices."""
    device, first = next(model.parameters()).device, np.zeros(1, dtype=np.int64)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), plain_kernels(model), common_numbers(pool, first):
        batch = collate(pool, first, device=device)
        with counter:  # which does not see into fused kernels
            function(model, batch)
    return int(counter.get_total_flops())
