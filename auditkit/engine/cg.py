"""The damped Gauss-Newton system by conjugate gradients, for any architecture.

The operator needs products with the outputs' Jacobian and its transpose only, both by reverse mode
(the first as the derivative of the second, which is linear): whatever can be differentiated twice
will do. Kronecker factors precondition it, so that a handful of steps is enough. All queries are
solved side by side on one graph per batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.engine.curvature import Preconditioner
from auditkit.engine.outputs import judged
from auditkit.engine.passes import Batching, Weights
from auditkit.errors import SettingError
from auditkit.gradients import plain_kernels
from auditkit.pool import Pool, Positions
from auditkit.progress import SILENT, Progress
from auditkit.subject import Task

_STEPS = 12
_SETTLED = 0.999
_BATCH = 64


def conjugate_gradients(
    task: Task,
    model: nn.Module,
    pool: Pool,
    positions: Positions,
    *,
    ridge: float,
    start: Preconditioner,
    device: torch.device,
    batch_size: int | None = None,
    steps: int = _STEPS,
    settled: float = _SETTLED,
    progress: Progress = SILENT,
) -> Preconditioner:
    """(H + ridge)^-1 as a function, H over the examples at `positions`.

    A query is left alone once the ranks of its scores of these examples no longer change.

    Args:
        task: gives the outputs.
        model: the trained model.
        pool: the train pool.
        positions: the examples that H is the mean of.
        ridge: what is added to H, in its own units.
        start: an approximate inverse.
        device: where the model is.
        batch_size: at most so many examples at once; fewer where memory runs out.
        steps: the most steps.
        settled: Spearman's correlation between scores of one step and the next above which a query
            counts as solved.
        progress: is told of every step.
    """
    batching = Batching(min(_BATCH, batch_size or _BATCH))

    def operator(search: Weights) -> tuple[dict[str, Tensor], Tensor]:
        return _operator(task, model, pool, positions, search, device=device, batching=batching)

    def solve(gradients: Weights) -> dict[str, Tensor]:
        found = {name: torch.zeros_like(part) for name, part in gradients.items()}
        left = {name: part.clone() for name, part in gradients.items()}
        near = start(left)
        search, size = dict(near), _inner(left, near)
        scores, live = torch.zeros(()), torch.ones(len(size), dtype=torch.bool)
        with progress.step("solving for the update", steps) as step:
            for _ in range(steps):
                image, response = operator(search)
                image = {name: image[name] + ridge * search[name] for name in search}
                curvature = _inner(search, image)
                moves = (curvature > 0) & live.to(curvature.device)
                length = torch.where(moves, size / curvature, torch.zeros_like(size))
                found = _plus(found, search, length)
                left = _plus(left, image, -length)
                before, scores = scores, scores + response * length[:, None]
                step.advance()
                if before.ndim:
                    live &= _agreement(before, scores) < settled
                if not live.any():
                    break
                near = start(left)
                size, last = _inner(left, near), size
                ratio = torch.where(last > 0, size / last, torch.zeros_like(size))
                search = _plus(near, search, ratio)
        return found

    return solve


def _operator(
    task: Task,
    model: nn.Module,
    pool: Pool,
    positions: Positions,
    directions: Weights,
    *,
    device: torch.device,
    batching: Batching,
) -> tuple[dict[str, Tensor], Tensor]:
    """H times directions [q, *shape], and the examples' change of loss along them, [q, example]."""
    own = {name: weight for name, weight in model.named_parameters() if name in directions}
    count = len(next(iter(directions.values())))
    total = {name: torch.zeros_like(part) for name, part in directions.items()}

    def run(where: slice) -> tuple[list[Sequence[Tensor | None]], Tensor]:
        batch = collate(pool, positions[where], device=device)
        with plain_kernels(model):
            outputs = judged(task, model, batch)
        pushed = [
            _pushed(outputs.values, own, {name: part[q] for name, part in directions.items()})
            for q in range(count)
        ]
        change = torch.stack([part * outputs.slopes for part in pushed])
        pulled: list[Sequence[Tensor | None]] = []
        for part in pushed:
            back = outputs.times_curvature(part) / len(positions)
            found = torch.autograd.grad(
                outputs.values, list(own.values()), back, retain_graph=True, allow_unused=True
            )
            pulled.append(found)
        return pulled, change.flatten(start_dim=2).sum(dim=2)

    responses = []
    for _, (pulled, change) in batching.over(len(positions), run):
        responses.append(change)
        for q, found in enumerate(pulled):
            for name, slope in zip(own, found, strict=True):
                if slope is not None:
                    total[name][q] += slope
    return total, torch.cat(responses, dim=1)


def _pushed(outputs: Tensor, weights: Weights, direction: Weights) -> Tensor:
    """The outputs' derivative along a direction, by the derivative of the transposed product."""
    cotangent = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(
        outputs, list(weights.values()), cotangent, create_graph=True, allow_unused=True
    )
    pairs = [
        (part * direction[name]).sum()
        for name, part in zip(weights, pulled, strict=True)
        if part is not None
    ]
    try:
        found = torch.autograd.grad(torch.stack(pairs).sum(), cotangent, retain_graph=True)
    except NotImplementedError as error:
        raise SettingError(
            'preconditioner is "ggn", which needs second derivatives here, and an operator of the '
            'model has none: take preconditioner="ekfac".'
        ) from error
    return found[0].detach()


def _inner(one: Weights, other: Weights) -> Tensor:
    """Inner products of stacked directions, one per query, [q]."""
    parts = [(one[name] * other[name]).reshape(len(one[name]), -1).sum(dim=1) for name in one]
    return torch.stack(parts).sum(dim=0)


def _plus(one: Weights, other: Weights, by: Tensor) -> dict[str, Tensor]:
    """One + by * other, with one factor per query."""
    return {
        name: part + by.view(-1, *[1] * (part.ndim - 1)) * other[name] for name, part in one.items()
    }


def _agreement(before: Tensor, after: Tensor) -> Tensor:
    """Spearman's correlation of two tables of scores, row by row, [q]."""
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import, and large

    ranks = [rankdata(part.cpu().numpy(), axis=1) for part in (before, after)]
    one, other = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return torch.from_numpy((one * other).sum(axis=1) / np.maximum(norms, 1e-12))
