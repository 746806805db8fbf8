"""Running the model forward over a pool: the `Executor` protocol and the local one.

This is the only place that knows where passes run. Everything the engine measures on training
examples comes through here, and is checked to be one finite number per example.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate, every
from auditkit.checks import per_example
from auditkit.errors import SettingError
from auditkit.pool import Pool, Positions
from auditkit.progress import SILENT, Progress
from auditkit.seeds import seed_torch, unmoved_generators
from auditkit.subject import Task

if TYPE_CHECKING:
    from auditkit.subject import Batch

Weights = Mapping[str, Tensor]
"""A model's parameters by name, or those that moved."""

Function = Callable[[nn.Module, "Batch"], Tensor]
"""`Task.loss` or `Task.measure`: a model and a batch to one number per example, [batch]."""

T = TypeVar("T")

DEFAULT_BATCH_SIZE = 256


class Executor(Protocol):
    """Where passes run."""

    @property
    def device(self) -> torch.device:
        """Where batches are put."""

    @property
    def batch_size(self) -> int:
        """The most examples at once, for passes that are not run here too."""

    def measure(
        self,
        function: Function,
        model: nn.Module,
        pool: Pool,
        *,
        weights: Weights | None = None,
        positions: Positions | None = None,
        what: str = "loss",
    ) -> Tensor:
        """The function on each example under the model, [example], on the CPU.

        In float32, or in float64 where the task computes in it.
        """

    def each(
        self,
        pool: Pool,
        run: Callable[[Batch, Positions], Tensor],
        *,
        positions: Positions | None = None,
        batch_size: int | None = None,
        doing: str,
    ) -> Tensor:
        """What `run` gives for each batch, first axis [batch], one after another, on the CPU."""


class Batching:
    """A batch size that is halved, for good, where memory runs out.

    Attributes:
        size: the most at once.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def over(
        self, count: int, run: Callable[[slice], T], *, most: int | None = None
    ) -> Iterator[tuple[slice, T]]:
        """What `run` gives for one batch after another, and where each is among `count`.

        A batch for which memory does not suffice is run again in halves: so `run` must give what it
        finds and change nothing.

        Args:
            count: how many there are in all.
            run: from a slice of these to what is found.
            most: at most so many at once, whatever the size is.
        """
        done = 0
        while done < count:
            size = min(self.size, most or self.size)
            where = slice(done, min(done + size, count))
            try:
                found = run(where)
            except RuntimeError as error:
                if size == 1 or not out_of_memory(error):
                    raise
                self.size = size // 2
                continue
            yield where, found
            done = where.stop


class LocalExecutor:
    """Passes in this process, on one device.

    Where the device runs out of memory the batch is halved, for good.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        batch_size: int | None = None,
        progress: Progress = SILENT,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}: it must be 1 or more.")
        self.device = device
        self._batching = Batching(batch_size or DEFAULT_BATCH_SIZE)
        self._progress = progress

    @property
    def batch_size(self) -> int:
        """The most examples at once."""
        return self._batching.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._batching.size = size

    def measure(
        self,
        function: Function,
        model: nn.Module,
        pool: Pool,
        *,
        weights: Weights | None = None,
        positions: Positions | None = None,
        what: str = "loss",
    ) -> Tensor:
        """The function on each example under the model, [example], on the CPU.

        In float32, or in float64 where the task computes in it.

        Args:
            function: `Task.loss` or `Task.measure`.
            model: the model to run, in evaluation mode.
            pool: where the examples are.
            weights: used in place of the model's own of these names; the model is not changed.
            positions: the examples; by default all.
            what: the function's name, for messages and progress.

        Raises:
            ReducedLossError: not one number per example.
            NonFiniteLossError: a number is NaN or infinite, and the weights are the model's own.
        """

        def run(batch: Batch, where: Positions) -> Tensor:
            with common_numbers(pool, where):
                values = call(function, model, batch, weights)
            if weights is None:
                per_example(values, pool, where, what=what)
            return values.to(at_least_single(values.dtype))

        with torch.no_grad():
            return self.each(pool, run, positions=positions, doing=f"measuring the {what}")

    def log_probabilities(
        self, task: Task, model: nn.Module, pool: Pool, *, positions: Positions | None = None
    ) -> tuple[Tensor, Tensor]:
        """Class log probabilities, float32 [example, class], and labels, int64 [example].

        Raises:
            NonFiniteLossError: a class score is NaN or infinite.
        """

        def run(batch: Batch, where: Positions) -> Tensor:
            scores, labels = task.outputs(model, batch)
            logs = scores.float().log_softmax(dim=1)
            per_example(logs.sum(dim=1), pool, where, what="outputs")
            return torch.cat([logs, labels[:, None].float()], dim=1)

        with torch.no_grad():
            table = self.each(pool, run, positions=positions, doing="measuring probabilities")
        return table[:, :-1], table[:, -1].long()

    def each(
        self,
        pool: Pool,
        run: Callable[[Batch, Positions], Tensor],
        *,
        positions: Positions | None = None,
        batch_size: int | None = None,
        doing: str,
    ) -> Tensor:
        """What `run` gives for each batch, first axis [batch], one after another, on the CPU.

        Args:
            pool: where the examples are.
            run: from a batch and its positions to a tensor.
            positions: the examples; by default all.
            batch_size: at most so many at once; by default the executor's.
            doing: what this is, for progress.
        """
        chosen = every(pool) if positions is None else positions

        def part(where: slice) -> Tensor:
            places = chosen[where]
            return run(collate(pool, places, device=self.device), places).cpu()

        parts: list[Tensor] = []
        with self._progress.step(doing, len(chosen)) as step:
            for where, found in self._batching.over(len(chosen), part, most=batch_size):
                parts.append(found)
                step.advance(where.stop - where.start)
        return torch.cat(parts)


def out_of_memory(error: Exception) -> bool:
    """Whether a device, or the machine itself, has no memory left."""
    on_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError)


@contextmanager
def common_numbers(pool: Pool, positions: Positions) -> Iterator[None]:
    """Within, whatever draws from torch's global generators draws by the ids of the batch alone.

    A task whose measure is drawn (noise, time steps, dropout left on) then differs between the
    trained and the moved weights by the weights, and not by the draw. Batches of one example make
    that independent of batching; see `draws`.
    """
    names = "\0".join(pool.ids[int(position)] for position in positions)
    with unmoved_generators():
        seed_torch(zlib.crc32(names.encode()))
        yield


def draws(function: Function, model: nn.Module, pool: Pool, device: torch.device) -> bool:
    """Whether the function draws random numbers, tried on the pool's first example."""
    first = np.zeros(1, dtype=np.int64)
    with torch.no_grad(), common_numbers(pool, first):
        before = _generators(device)
        function(model, collate(pool, first, device=device))
        return any(
            not torch.equal(one, other)
            for one, other in zip(before, _generators(device), strict=True)
        )


def _generators(device: torch.device) -> list[Tensor]:
    """The states of the generators that a function may draw from on that device."""
    states = [torch.get_rng_state()]
    match device.type:
        case "cuda":
            states.append(torch.cuda.get_rng_state(device))
        case "xpu":
            states.append(torch.xpu.get_rng_state(device))
        case "mps":
            states.append(torch.mps.get_rng_state())
    return states


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """The precision to sum and to factorize in: float32 for anything coarser."""
    return torch.promote_types(dtype, torch.float32)


def call(function: Function, model: nn.Module, batch: Batch, weights: Weights | None) -> Tensor:
    """The function on a batch, under the model or under the model with some weights exchanged.

    Exchanging goes through `torch.func.functional_call`, which leaves the model as it was, also
    after an exception, and keeps shared weights shared. Gradients flow to `weights`.
    """
    if weights is None:
        return function(model, batch)
    renamed = {f"model.{name}": weight for name, weight in weights.items()}
    result: Tensor = torch.func.functional_call(_Call(function, model), renamed, (batch,))
    return result


class _Call(nn.Module):
    """A function of (model, batch) as a module, so that its model's weights can be exchanged."""

    def __init__(self, function: Function, model: nn.Module) -> None:
        super().__init__()
        self.function, self.model = function, model

    def forward(self, batch: Batch) -> Tensor:
        return self.function(self.model, batch)
