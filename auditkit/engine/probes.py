"""What curvature is estimated from: sums of outputs whose gradients per example make H.

For class scores and real-valued outputs these are the heaviest directions of the outputs' own
curvature (`outputs.py`), over the whole pool: nothing is drawn, so the estimate has no noise of its
own, and does not depend on the order of the pool. For tokens, of which there are too many to choose
from, a label is drawn for each from the predicted probabilities, by the document's id: the
covariance of these gradients is H in expectation (Martens 2020, section 5). For losses that are
means over draws of noise, one draw of each example is taken, and its outputs are summed with random
signs, both by the example's id. A task without outputs falls back to its losses (the empirical
Fisher matrix).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate, every
from auditkit.engine.outputs import (
    OutputRows,
    candidates,
    heaviest_rows,
    outputs_of,
    shares_of,
)
from auditkit.engine.passes import Batching, Function, at_least_single
from auditkit.pool import Pool, Positions
from auditkit.progress import SILENT, Progress
from auditkit.seeds import stream
from auditkit.subject import Task
from auditkit.tasks.noise import signs

if TYPE_CHECKING:
    from auditkit.subject import Batch

T = TypeVar("T")

SAMPLE = 2_048
"""How many probes an estimate is made from, and examples a solve by conjugate gradients."""

_BATCH = 32
_DOCUMENTS = 16
"""More of them at once make estimates no faster, and their scores take as much more memory."""

_SCORES = 2**25
"""How many scores of tokens are held at once: 128 MiB, of which a few copies are made."""


@dataclass(frozen=True)
class Probes:
    """Batches and what to differentiate on them.

    Attributes:
        function: from a model and a pair (batch, what goes with it) to one number per probe.
        pool: the train pool.
        positions: int64 [probe]; the example of each.
        beside: float [probe, ...]; what goes with each; None where it is drawn by id.
        batch_size: probes at once, at most.
        seed: of what is drawn.
        device: where the model is.
    """

    function: Function
    pool: Pool
    positions: Positions
    beside: Tensor | None
    batch_size: int
    seed: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.positions)

    def over(self, run: Callable[[slice], T], *, doing: str, progress: Progress) -> Iterator[T]:
        """What `run` gives for one batch after another; smaller ones where memory runs out."""
        with progress.step(doing, len(self)) as step:
            for where, found in Batching(self.batch_size).over(len(self), run):
                yield found
                step.advance(where.stop - where.start)

    def pairs(self, where: slice) -> Batch:
        """Some of the pairs as one batch; the same each time."""
        batch = collate(self.pool, self.positions[where], device=self.device)
        if self.beside is not None:
            return batch, self.beside[where].to(self.device)
        drawn = [self._draws(int(place)) for place in self.positions[where]]
        return batch, torch.tensor(drawn, dtype=torch.int64, device=self.device)

    def _draws(self, place: int) -> int:
        return zlib.crc32(f"{self.seed} {self.pool.ids[place]}".encode())


def make_probes(
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    most: int,
    seed: int,
    device: torch.device,
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> Probes:
    """At most so many probes of the pool; their mean square gradient is H.

    Args:
        task: gives outputs and losses.
        model: the trained model, in evaluation mode.
        pool: the train pool.
        most: how many.
        seed: for what is chosen among equals, and drawn.
        device: where the model is.
        batch_size: at most so many probes at once; fewer where memory runs out.
        progress: is told of every batch.
    """
    at_once = min(_BATCH, batch_size or _BATCH)
    if task.likelihood == "tokens" and task.has_outputs:
        positions = sampled_positions(pool, most, seed)
        at_once = min(at_once, _fitting(task, model, pool, device))
        return Probes(_drawn(task), pool, positions, None, at_once, seed, device)
    if task.draws > 1:
        positions = sampled_positions(pool, most, seed)
        function = _with_signs(task) if task.has_outputs else _of_one_draw(task)
        return Probes(function, pool, positions, None, at_once, seed, device)
    rows = heaviest_rows(
        task,
        model,
        pool,
        rows=most,
        seed=seed,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )
    beside = rows.cotangents * (len(rows) / rows.examples) ** 0.5
    return Probes(along_outputs(task), pool, rows.positions, beside, at_once, seed, device)


def along_outputs(task: Task) -> Function:
    """Outputs times a direction of each example's own, from pairs of a batch and directions."""

    def along(model: nn.Module, pair: Batch) -> Tensor:
        examples, own = cast("tuple[Batch, Tensor]", pair)  # sliced together, one by one too
        return (outputs_of(task, model, examples) * own).sum(dim=1)

    return along


def sampled_positions(pool: Pool, sample: int, seed: int) -> Positions:
    """A random sample of positions, in order; all of a pool that is no larger."""
    count = min(sample, len(pool))
    return np.sort(stream(seed, "curvature").permutation(every(pool))[:count])


def examined(task: Task, pool: Pool, seed: int) -> Positions:
    """Every example that an estimate of the curvature may look at, in order."""
    sample = sampled_positions(pool, SAMPLE, seed)
    if task.likelihood == "tokens" and task.has_outputs:
        return sample
    return np.union1d(sample, candidates(len(pool), seed))


def rows_as_probes(
    task: Task, pool: Pool, rows: OutputRows, *, batch_size: int, device: torch.device
) -> Probes:
    """Rows of R divided by the root of n, as they are: their summed squares are H."""
    beside = rows.cotangents / rows.examples**0.5
    return Probes(along_outputs(task), pool, rows.positions, beside, batch_size, 0, device)


def _drawn(task: Task) -> Function:
    def drawn(model: nn.Module, pair: Batch) -> Tensor:
        examples, keys = cast("tuple[Batch, Tensor]", pair)
        outputs, targets = task.outputs(model, examples)
        values = outputs.detach()
        chances = values.to(at_least_single(values.dtype)).softmax(dim=2)
        chance = [np.random.default_rng(int(key)).random(targets.shape[1]) for key in keys]
        mark = torch.from_numpy(np.stack(chance)).to(chances)
        label = (chances.cumsum(dim=2) < mark[:, :, None]).sum(dim=2, keepdim=True)
        label = label.clamp(max=chances.shape[2] - 1)
        slope = chances.scatter_add(2, label, -torch.ones_like(chances[:, :, :1]))
        return (outputs * slope * shares_of(task, values, targets).sqrt()).sum(dim=(1, 2))

    return drawn


def _with_signs(task: Task) -> Function:
    """Outputs of one draw in a sum of random signs, by the root of what each of them counts.

    The square of its gradient is in expectation that of a squared error averaged over the outputs.
    """

    def signed(model: nn.Module, pair: Batch) -> Tensor:
        examples, drawn = cast("tuple[Batch, Tensor]", pair)
        outputs = outputs_of(task, model, task.one_draw(examples, drawn))
        size = outputs.shape[1]
        found: Tensor = (2 / size) ** 0.5 * (outputs * signs(drawn, size).to(outputs)).sum(dim=1)
        return found

    return signed


def _of_one_draw(task: Task) -> Function:
    """The loss at one draw of each example."""

    def loss(model: nn.Module, pair: Batch) -> Tensor:
        examples, drawn = cast("tuple[Batch, Tensor]", pair)
        return task.loss(model, task.one_draw(examples, drawn))

    return loss


def _fitting(task: Task, model: nn.Module, pool: Pool, device: torch.device) -> int:
    """How many documents' scores fit, judged by the first one's."""
    with torch.no_grad():
        outputs, _ = task.outputs(model, collate(pool, np.zeros(1, dtype=np.int64), device=device))
    return max(1, min(_DOCUMENTS, _SCORES // outputs.numel()))
