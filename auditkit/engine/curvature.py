"""Preconditioners: from the gradient of a query to the direction the weights move in.

With P = (H + damping)^-1, H the Gauss-Newton matrix of the mean training loss plus the model's
weight decay, the update is the one an influence function makes (Koh and Liang 2017): the query's
gradient counts less along directions that much of the training data holds fast. `ggn` solves with
H itself (`ggn.py`, `cg.py`); `kfac`, `ekfac` and `diagonal` with approximations of it.

These are estimated from gradients per example of sums of outputs, whose mean square is H
(`probes.py`), added up batch by batch (`gathering.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn

from auditkit.checks import output_table
from auditkit.engine.gathering import Gathered
from auditkit.engine.kfac import Factors, Moments
from auditkit.engine.layers import Dense
from auditkit.engine.outputs import shares_of
from auditkit.engine.passes import Function, Weights
from auditkit.engine.per_example import Reader
from auditkit.engine.probes import SAMPLE, Probes, make_probes
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.subject import Task

if TYPE_CHECKING:
    from auditkit.subject import Batch

Kind: TypeAlias = Literal["none", "adam", "diagonal", "kfac", "ekfac", "ggn"]
"""The preconditioners: gradient, first Adam step, and four forms of the curvature."""

Estimated: TypeAlias = Literal["diagonal", "kfac", "ekfac"]
"""Those that are estimated from sampled targets."""

Preconditioner: TypeAlias = Callable[[Weights], dict[str, Tensor]]
"""From gradients to directions, both by parameter name and stacked: [q, *shape]."""

_LARGEST_SIDE = 4_096
"""A layer with a longer side (a vocabulary) is left to the diagonal: factors cost its cube."""


@dataclass(frozen=True)
class Curvature:
    """What was estimated of H: a diagonal for some parameters, and factors for some layers.

    Attributes:
        diagonal: by parameter name, its part of the diagonal of H, of the parameter's shape.
        layers: the layers that have factors.
        factors: Kronecker factors by layer name; empty for the diagonal kind.
    """

    diagonal: Mapping[str, Tensor]
    layers: Mapping[str, Dense] = field(default_factory=dict)
    factors: Mapping[str, Factors] = field(default_factory=dict)

    def ridge(self, *, damping: float, weight_decay: float = 0.0) -> float:
        """What is added to H.

        Args:
            damping: in units of H's mean diagonal entry, so that it means the same for a model
                that has memorized its data, whose H is tiny, and for one that has not.
            weight_decay: added as it is.
        """
        parts = [*self.diagonal.values(), *(factors.moments for factors in self.factors.values())]
        mean = sum(float(part.double().sum()) for part in parts) / sum(p.numel() for p in parts)
        return max(damping * mean + weight_decay, torch.finfo(torch.float32).tiny)

    def preconditioner(self, *, damping: float, weight_decay: float = 0.0) -> Preconditioner:
        """(H + ridge)^-1 as a function."""
        return self.solver(self.ridge(damping=damping, weight_decay=weight_decay))

    def solver(self, ridge: float) -> Preconditioner:
        """The same for a ridge in H's own units."""

        def solve(gradients: Weights) -> dict[str, Tensor]:
            directions = {
                name: gradients[name] / (part + ridge)
                for name, part in self.diagonal.items()
                if name in gradients
            }
            for name, factors in self.factors.items():
                layer = self.layers[name]
                packed = layer.pack(gradients)
                directions |= layer.unpack(factors.solve(packed, ridge=ridge))
            # A layer that no example runs has no curvature but the ridge.
            return {n: directions.get(n, part / ridge) for n, part in gradients.items()}

        return solve


def estimate(
    kind: Estimated,
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    device: torch.device,
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> Curvature:
    """Estimate H from up to `sample` probes, by one backward pass per batch (EK-FAC: by two).

    Args:
        kind: `diagonal`; or factors where layers have them, and the diagonal for the rest.
        task: gives the outputs.
        model: the trained model, in evaluation mode.
        pool: the train pool.
        sample: how many probes.
        seed: for what is drawn.
        device: where the model is.
        batch_size: at most so many examples at once; fewer where memory runs out.
        progress: is told of every batch.
    """
    probes = make_probes(
        task,
        model,
        pool,
        most=sample,
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    reader = Reader(model, steady_function(task), pool, device=device)
    dense = {} if kind == "diagonal" else _factored(reader)
    gathered = Gathered(reader, probes, dense, seed=seed)
    for found in probes.over(gathered.read, doing="estimating the curvature", progress=progress):
        gathered.add(found)
    factors = gathered.factors()
    if kind == "ekfac":
        factors = _mended(factors, reader, probes, progress=progress)
    return Curvature(gathered.diagonal(), {name: dense[name] for name in factors}, factors)


def steady_function(task: Task) -> Function:
    """The same outputs in a sum that is not drawn, to compare ways of differentiating on."""

    def steady(model: nn.Module, batch: Batch) -> Tensor:
        if task.draws > 1:
            batch = task.one_draw(batch, 0)
        if not task.has_outputs or task.likelihood is None:
            return task.loss(model, batch)
        found, targets = task.outputs(model, batch)
        if task.likelihood == "tokens":
            found = (found * shares_of(task, found.detach(), targets)).sum(dim=1)
        outputs = output_table(found, task=type(task).__name__)
        return outputs @ torch.linspace(1, 2, outputs.shape[1]).to(outputs)

    return steady


def as_it_is(gradients: Weights) -> dict[str, Tensor]:
    """No preconditioner."""
    return dict(gradients)


def first_adam_step(gradients: Weights) -> dict[str, Tensor]:
    """The direction of Adam's first step, g / (|g| + 1e-8) (Kingma and Ba 2015, algorithm 1)."""
    return {name: part / (part.abs() + 1e-8) for name, part in gradients.items()}


def _factored(reader: Reader) -> dict[str, Dense]:
    return {
        layer.name: layer
        for layer in reader.layers
        if isinstance(layer, Dense) and max(layer.sides) <= _LARGEST_SIDE
    }


def _mended(
    factors: Mapping[str, Factors], reader: Reader, probes: Probes, *, progress: Progress
) -> dict[str, Factors]:
    """The factors with second moments measured in their eigenbases, by the same probes."""
    moments = Moments(factors)

    def run(where: slice) -> dict[str, Tensor]:
        uses = reader.read(probes.function, probes.pairs(where)).uses
        return {
            layer.name: moments.of(layer, own)
            for layer, own in uses.items()
            if isinstance(layer, Dense) and layer.name in factors
        }

    for found in probes.over(run, doing="measuring second moments", progress=progress):
        for name, own in found.items():
            moments.add(name, own)
    return moments.mended(examples=len(probes))
