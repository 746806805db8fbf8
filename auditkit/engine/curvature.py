"""Preconditioners: from the gradient of a query to the direction the weights move in.

With P = (H + damping)^-1, H the Gauss-Newton matrix of the mean training loss plus the model's
weight decay, the update is the one an influence function makes (Koh and Liang 2017): the query's
gradient counts less along directions that much of the training data holds fast.

H is estimated on a sample of the training examples from gradients at *sampled* targets, one
draw per example, whose covariance is the Gauss-Newton matrix of the outputs exactly (Martens 2020,
section 5): labels drawn from the predicted probabilities for cross-entropy, and random signs for
squared error. A task without outputs falls back to its own losses under random signs
(the empirical Fisher matrix).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import batches, every
from auditkit.engine.kfac import Factors, Recorder
from auditkit.engine.passes import Weights, at_least_single
from auditkit.gradients import gradient
from auditkit.pool import Pool
from auditkit.seeds import stream
from auditkit.subject import Task

if TYPE_CHECKING:
    from auditkit.subject import Batch

Kind: TypeAlias = Literal["none", "adam", "diagonal", "kfac"]
"""The preconditioners: gradient, first Adam step, diagonal and Kronecker-factored curvature."""

Preconditioner: TypeAlias = Callable[[Weights], dict[str, Tensor]]
"""From a gradient to a direction, both by parameter name."""

_SAMPLE = 2_048
_BATCH = 32


@dataclass(frozen=True)
class Curvature:
    """What was estimated of H: a diagonal for every parameter, and factors for some layers.

    Attributes:
        diagonal: per parameter, its part of the diagonal of H, of the parameter's shape.
        factors: Kronecker factors by layer name; empty for the diagonal kind.
    """

    diagonal: Mapping[str, Tensor]
    factors: Mapping[str, Factors]

    def preconditioner(self, *, damping: float, weight_decay: float = 0.0) -> Preconditioner:
        """(H + damping)^-1 as a function.

        Args:
            damping: in units of H's mean diagonal entry, so that it means the same for a model
                that has memorized its data, whose H is tiny, and for one that has not.
            weight_decay: added to H as it is.
        """
        entries = sum(part.numel() for part in self.diagonal.values())
        mean = sum(float(part.double().sum()) for part in self.diagonal.values()) / entries
        ridge = max(damping * mean + weight_decay, torch.finfo(torch.float32).tiny)

        def solve(gradient: Weights) -> dict[str, Tensor]:
            direction = {
                name: part / (self.diagonal[name] + ridge) for name, part in gradient.items()
            }
            for factors in self.factors.values():
                direction |= factors.solve(gradient, ridge=ridge)
            return direction

        return solve


def make_preconditioner(
    kind: Kind,
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    damping: float,
    weight_decay: float = 0.0,
    seed: int = 0,
    device: torch.device,
) -> Preconditioner:
    """The preconditioner of a kind, its curvature estimated on a sample of the pool."""
    if kind == "none":
        return _as_it_is
    if kind == "adam":
        return _first_adam_step
    curvature = estimate(task, model, pool, factored=kind == "kfac", seed=seed, device=device)
    return curvature.preconditioner(damping=damping, weight_decay=weight_decay)


def estimate(
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    factored: bool,
    sample: int = _SAMPLE,
    seed: int = 0,
    device: torch.device,
) -> Curvature:
    """Estimate H on up to `sample` examples, by one backward pass per batch of 32.

    The diagonal is the sum over batches of the squared gradient of the batch's summed loss: the
    targets are drawn independently, so the cross terms between examples vanish in expectation
    (Liu et al. 2023, Sophia, section 2.3).

    Args:
        task: gives the outputs.
        model: the trained model, in evaluation mode.
        pool: the train pool.
        factored: whether Linear and Conv2d layers get Kronecker factors.
        sample: how many examples; all of a smaller pool.
        seed: for the sample and the drawn targets.
        device: where the model is.
    """
    count = min(sample, len(pool))
    chosen = np.sort(stream(seed, "curvature").permutation(every(pool))[:count])
    generator = torch.Generator(device=device).manual_seed(seed)
    diagonal = {
        name: torch.zeros_like(weight, dtype=at_least_single(weight.dtype))
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    with Recorder(model if factored else None) as recorder:
        for _, batch in batches(pool, chosen, batch_size=_BATCH, device=device):
            summed = _sampled_loss(task, model, batch, generator)
            for name, part in gradient(summed, model).items():
                diagonal[name] += part.to(diagonal[name].dtype).square() / count
            recorder.collect()
        factors = recorder.factors(examples=count)
    return Curvature(diagonal, factors)


def _sampled_loss(task: Task, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """A sum whose gradient at the outputs, per example, has the output curvature as covariance."""
    if not task.has_outputs or task.likelihood is None:
        losses = task.loss(model, batch)
        bits = torch.randint(0, 2, losses.shape, generator=generator, device=losses.device)
        return (losses * (2 * bits - 1)).sum()
    outputs, _ = task.outputs(model, batch)
    values = outputs.detach()
    if task.likelihood == "categorical":
        probabilities = values.to(at_least_single(values.dtype)).softmax(dim=1)
        drawn = torch.multinomial(probabilities, 1, generator=generator)
        slope = probabilities.scatter_add(1, drawn, -torch.ones_like(probabilities[:, :1]))
    else:
        signs = 2 * torch.randint(0, 2, values.shape, generator=generator, device=values.device) - 1
        slope = signs * (2 / values.shape[1]) ** 0.5
    return (outputs * slope).sum()


def _as_it_is(gradient: Weights) -> dict[str, Tensor]:
    return dict(gradient)


def _first_adam_step(gradient: Weights) -> dict[str, Tensor]:
    """The direction of Adam's first step, g / (|g| + 1e-8) (Kingma and Ba 2015, algorithm 1)."""
    return {name: part / (part.abs() + 1e-8) for name, part in gradient.items()}
