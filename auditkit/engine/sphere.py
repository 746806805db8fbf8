"""A random point near a query, where the query's own loss has no gradient left.

The authors' workaround for memorized queries (reds-lab/Forward-INF, the leakage notebook), kept to
compare with: a query whose loss is under .005 is replaced by a random point on a sphere around it,
wider by a tenth until the loss there exceeds .01. Measuring the margin needs none of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from auditkit.batches import mapped
from auditkit.engine.passes import Function
from auditkit.engine.update import Query

if TYPE_CHECKING:
    from auditkit.subject import Batch

_SATURATED = 5e-3
_ENOUGH = 1e-2
_WIDER = 1.1
_TRIES = 60


def away(query: Query, loss: Function, *, radius: float, seed: int) -> Query:
    """The query as it is, or a point near it if its loss has saturated.

    Args:
        query: one query, whose first tensor of real numbers is its input.
        loss: the task's loss, which decides whatever the query is measured by.
        radius: of the first sphere, in units of the input.
        seed: for the point's direction; another at every try.
    """
    found, width, judged = query, radius, replace(query, function=loss)
    for tried in range(_TRIES if judged.mean() < _SATURATED else 0):
        found, there = (_at(one, width, seed + tried) for one in (query, judged))
        width *= _WIDER
        if there.mean() > _ENOUGH:
            break
    return found


def _at(query: Query, radius: float, seed: int) -> Query:
    function = query.function

    def moved(model: nn.Module, batch: Batch) -> Tensor:
        return function(model, _shifted(batch, radius, seed))

    return replace(query, function=moved)


def _shifted(batch: Batch, radius: float, seed: int) -> Batch:
    """The batch with its first tensor of real numbers moved to a point on a sphere around it."""
    generator, done = torch.Generator().manual_seed(seed), False

    def change(part: Tensor) -> Tensor:
        nonlocal done
        if done or not part.is_floating_point():
            return part
        done = True
        noise = torch.randn(part.shape, generator=generator).to(part)
        lengths = noise.flatten(start_dim=1).norm(dim=1).view(-1, *[1] * (part.ndim - 1))
        shifted: Tensor = part + radius * noise / lengths
        return shifted

    return mapped(batch, change)
