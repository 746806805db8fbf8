"""Replays of the trained model, over which scores are averaged beside it.

What one trained network says of its training data is partly the accident of its seed, and what it
has memorized no longer pulls in it. Copies that are shrunk toward fresh weights and trained on all
examples again, for a few epochs, differ in both: scores averaged over the model and a few of them
foretell retraining better than its own do (docs/explanation/method.md), and several trainings from
scratch in their place cost many times as much.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import nn

from auditkit.batches import collate, every
from auditkit.engine.cost import operations
from auditkit.engine.passes import LocalExecutor, out_of_memory
from auditkit.engine.replay import Origin
from auditkit.engine.restore import private_copy
from auditkit.errors import NonFiniteLossError, SettingError
from auditkit.gradients import differentiable
from auditkit.pool import Pool
from auditkit.progress import Progress
from auditkit.seeds import seeded, stream
from auditkit.subject import Recipe, Task
from auditkit.training import epochs, with_learning_rate

Replays: TypeAlias = int | Literal["auto"]
"""How many replays of each network, or as many as `auto` allows."""

COUNT = 4
"""How many `auto` makes, shared out among the networks: at least one of each."""

KEEP = 0.25
"""What replays keep of the trained weights, as in `holdout`."""

STEPS, EPOCHS = 300, (4, 10)
"""They are trained for as many epochs as make so many steps, within these bounds, and for no more
than the model was."""

MOST = 2 * 10**12
"""Floating-point operations of all trainings up to which `auto` makes any: a minute or two on one
core."""

STEP = 3.0
"""A step of training, in passes over its batch: one forward, and one backward of about two."""

_PURPOSE = "replayed models"


class ReplayedModels:
    """Makes replays of networks, each once, and keeps them.

    Args:
        task: gives losses.
        train: what replays train on.
        recipe: how they train.
        origin: what they are shrunk toward.
        executor: says where.
        seed: for fresh weights and orders.
        progress: is told of every epoch.
    """

    def __init__(
        self,
        task: Task,
        train: Pool,
        *,
        recipe: Recipe,
        origin: Origin,
        executor: LocalExecutor,
        seed: int,
        progress: Progress,
    ) -> None:
        self._task, self._train, self._recipe = task, train, recipe
        self._origin, self._executor, self._seed = origin, executor, seed
        self._progress = progress
        self._kept: dict[tuple[int, int], nn.Module] = {}

    def of(self, network: nn.Module, place: int, number: int) -> nn.Module:
        """One of the replays of a network, in evaluation mode.

        Args:
            network: the engine's copy of the trained model or of a checkpoint.
            place: which network this is.
            number: which of its replays.

        Raises:
            TaskError: the model cannot be initialized anew.
            NonFiniteLossError: the recipe makes its loss NaN or infinite.
        """
        key, purpose = (place, number), f"{_PURPOSE} {place} {number}"
        if key not in self._kept:
            with seeded(self._seed, purpose), differentiable():
                order = int(stream(self._seed, purpose).integers(2**63))
                self._kept[key] = self._replay(network, seed=order)
        return self._kept[key]

    @property
    def epochs(self) -> int:
        """For how many epochs each is trained."""
        steps = math.ceil(len(self._train) / self._recipe.batch_size)
        return min(max(round(STEPS / steps), EPOCHS[0]), EPOCHS[1], self._recipe.epochs)

    def affordable(self, network: nn.Module, *, count: int) -> bool:
        """Whether so many replays can be made, as far as can be told, by `MOST` operations.

        The model must run in training mode too, and be of a kind that can begin anew.

        A step takes a pass forward and about two backward for each example, and about ten
        operations for each trained weight.
        """
        steps = math.ceil(len(self._train) / self._recipe.batch_size)
        weights = sum(own.numel() for own in network.parameters() if own.requires_grad)
        try:
            once = operations(self._task.loss, network, self._train)
            with seeded(self._seed, _PURPOSE), torch.no_grad():
                trial = private_copy(network, self._executor.device).train()
                few = every(self._train)[:2]  # of one, BatchNorm has no statistics
                self._task.loss(trial, collate(self._train, few, device=self._executor.device))
                if self._origin.fresh is None:
                    self._origin.shrunk(network, keep=KEEP)
        except Exception as error:  # a model that cannot be run is told of where it is asked
            if out_of_memory(error):
                raise
            return False
        epoch = STEP * once * len(self._train) + 10.0 * weights * steps
        return epoch * self.epochs * count <= MOST

    def _replay(self, network: nn.Module, *, seed: int) -> nn.Module:
        model, device = self._origin.shrunk(network, keep=KEEP), self._executor.device
        try:
            self._recipe = with_learning_rate(  # chosen once, on the first replay
                self._recipe, model, self._task, self._train, seed=self._seed, device=device
            )
            passes = epochs(
                model,
                self._task,
                self._train,
                self._recipe,
                count=self.epochs,
                seed=seed,
                device=device,
            )
            with self._progress.step("replaying the model", self.epochs) as step:
                for _ in passes:
                    step.advance()
        except NonFiniteLossError as error:
            raise NonFiniteLossError(
                f"A replay of the model could not be trained by the recipe given. {error} Or take "
                "replays=0 (--no-replays), for scores of the trained model alone."
            ) from error
        return model.eval()


def how_many(
    replays: Replays,
    *,
    networks: int,
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    replayed: ReplayedModels,
) -> int:
    """How many replays of each network, `auto` decided by counting.

    `auto` makes some for a classifier of more than one layer whose recipe is known, which can be
    initialized anew and is small enough; a model of one layer has one optimum, so that its replays
    would only be less exact.

    Raises:
        SettingError: a number below zero, or none.
    """
    if replays == "auto":
        layers = [
            part
            for part in model.modules()
            if any(weight.requires_grad for weight in part.parameters(recurse=False))
        ]
        count = max(1, round(COUNT / networks))
        worthwhile = (
            recipe != Recipe()  # which says of no training
            and task.likelihood == "categorical"
            and len(layers) > 1
            and replayed.affordable(model, count=count * networks)
        )
        return count if worthwhile else 0
    if isinstance(replays, bool) or not isinstance(replays, int) or replays < 0:
        raise SettingError(
            f'replays is {replays!r}: expected "auto" or how many, 0 for none of them.'
        )
    return replays
