"""The trained model, its checkpoints and replays, what of them moves, and their preconditioners."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auditkit.engine.checkpoints import load_weights, read_weights
from auditkit.engine.factors import FactorStore
from auditkit.engine.layout import channels_last
from auditkit.engine.preconditioner import Choice, Chosen, Undamped, prepare
from auditkit.engine.replayed import STEP, ReplayedModels
from auditkit.engine.restore import in_single, only_moving, private_copy
from auditkit.errors import SettingError
from auditkit.pool import Pool
from auditkit.progress import Progress
from auditkit.subject import Recipe, Task


@dataclass(frozen=True)
class Weighed:
    """The trained model, one of its checkpoints or a replay, and its weight in the average.

    Attributes:
        place: 0 for the model, then the checkpoints' order, then the replays'.
        model: a private copy of which only what is to move is trainable.
        weight: not negative; those of all of them sum to 1.
    """

    place: int
    model: nn.Module
    weight: float

    @property
    def moving(self) -> dict[str, Tensor]:
        """The parameters that move, by name."""
        return {n: weight for n, weight in self.model.named_parameters() if weight.requires_grad}


class Models:
    """Private copies of the model and its checkpoints; the caller's are never touched.

    The trained model and its checkpoints are the networks; each may have replays, which share its
    weight in averages with it.

    Args:
        task: holds the trained model.
        train: the train pool, which curvature is estimated on.
        checkpoints: further weights, as state dicts or paths.
        shares: the weight of each, the model's first; equal by default.
        moving: patterns of the names of the parameters that move; None for all trainable ones.
        preconditioner: which one.
        damping: of it.
        recipe: its weight decay is part of the curvature where the optimizer couples it.
        seed: for curvature samples.
        device: where the copies are.
        progress: is told how far estimates are.
        batch_size: the most examples at once for estimates.
        factors: where estimates are kept for other engines.
        warn: is told, in a sentence, where that fails.

    Attributes:
        trained: the engine's copy of the trained model.
        replays: of each network.

    Raises:
        SettingError: shares that are no weights, one for each model.
        TaskError: the model cannot be copied.
    """

    def __init__(
        self,
        task: Task,
        train: Pool,
        *,
        checkpoints: Sequence[Mapping[str, Tensor] | Path | str],
        shares: Sequence[float] | None,
        moving: str | None,
        preconditioner: Choice,
        damping: float,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        progress: Progress,
        batch_size: int | None = None,
        factors: FactorStore | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._task, self._train, self._recipe = task, train, recipe
        self._checkpoints, self._moving = tuple(checkpoints), moving
        self._shares = _checked(shares, 1 + len(self._checkpoints))
        self._choice, self._damping, self._seed = preconditioner, damping, seed
        self._device, self._progress = device, progress
        self._batch_size, self._factors, self._warn = batch_size, factors, warn
        single = in_single(private_copy(task.model, device), task, train, device)
        self.trained = channels_last(single, task, train, device)
        self._undamped: dict[int, Undamped] = {}  # shared with those of another damping
        self._chosen: dict[int, Chosen] = {}
        self._read: dict[int, Mapping[str, Tensor]] = {}  # files, each read once
        self._replayed: ReplayedModels | None = None
        self.replays = 0

    @property
    def networks_count(self) -> int:
        """How many networks there are."""
        return len(self._shares)

    @property
    def count(self) -> int:
        """Over how many models scores are averaged."""
        return len(self._shares) * (1 + self.replays)

    @property
    def replay_passes(self) -> float:
        """What training all replays takes, in inference passes over the train pool."""
        if self._replayed is None:
            return 0.0
        return self.networks_count * self.replays * self._replayed.epochs * STEP

    def networks(self) -> Iterator[nn.Module]:
        """The trained model, then a copy holding each of the checkpoints in turn."""
        yield self.trained
        for place, checkpoint in enumerate(self._checkpoints):
            model = private_copy(self.trained, self._device)
            if isinstance(checkpoint, Path | str) and place not in self._read:
                self._read[place] = read_weights(Path(checkpoint))
            load_weights(model, self._read.get(place, checkpoint))
            yield model

    def weighed(self) -> Iterator[Weighed]:
        """The networks and their replays, of which only what the settings say can move."""
        networks, each = len(self._shares), 1 + self.replays
        for place, (network, share) in enumerate(zip(self.networks(), self._shares, strict=True)):
            yield Weighed(place, only_moving(network, self._moving), share / each)
            for number in range(self.replays):
                assert self._replayed is not None  # noqa: S101 - there are replays
                replay = self._replayed.of(network, place, number)
                own = place + networks * (1 + number)  # however many there are
                yield Weighed(own, only_moving(replay, self._moving), share / each)

    def with_replays(self, replayed: ReplayedModels, replays: int) -> Models:
        """The same networks, with so many replays of each."""
        other = copy.copy(self)
        other._replayed, other.replays = replayed, replays
        return other

    def alone(self) -> Models:
        """The trained model without checkpoints and replays; what is estimated of it stays."""
        other = copy.copy(self)
        other._checkpoints, other._shares, other.replays, other._read = (), (1.0,), 0, {}
        other._undamped = {place: own for place, own in self._undamped.items() if place == 0}
        other._chosen = {place: own for place, own in self._chosen.items() if place == 0}
        return other

    def averaged(self, of: Callable[[Weighed], Sequence[Tensor]]) -> list[npt.NDArray[np.float64]]:
        """The mean over all of them, by their weights, of each of the tensors that `of` gives."""
        found: list[Tensor] = []
        for one in self.weighed():
            own = [one.weight * part.double() for part in of(one)]
            found = [a + b for a, b in zip(found, own, strict=True)] if found else own
        return [mean.numpy() for mean in found]

    def moving_others(
        self, moving: str | None, preconditioner: Choice, *, damping: float | None
    ) -> Models:
        """The same models, of which other parameters move, by another preconditioner.

        The damping stays for None.
        """
        other = copy.copy(self)
        other._moving, other._choice = moving, preconditioner
        other._damping = self._damping if damping is None else damping
        other._chosen, other._undamped = {}, {}
        other.__dict__.pop("moving", None)  # counted anew
        return other

    @cached_property
    def moving(self) -> int:
        """How many numbers move in one of them."""
        return sum(weight.numel() for weight in next(self.weighed()).moving.values())

    def chosen(self, one: Weighed) -> Chosen:
        """The preconditioner of one of them, made when it is first asked for."""
        if one.place not in self._chosen:
            coupled = self._recipe.optimizer in ("sgd", "adam")
            self._chosen[one.place] = self._prepared(one).chosen(
                damping=self._damping,
                weight_decay=self._recipe.weight_decay if coupled else 0.0,
            )
        return self._chosen[one.place]

    def damped(self, damping: float) -> Models:
        """The same models and estimates with another damping."""
        other = copy.copy(self)
        other._damping, other._chosen = damping, {}
        return other

    def _prepared(self, one: Weighed) -> Undamped:
        """What is estimated of one of them, once."""
        if one.place not in self._undamped:
            self._undamped[one.place] = prepare(
                self._choice,
                self._task,
                one.model,
                self._train,
                seed=self._seed,
                device=self._device,
                batch_size=self._batch_size,
                progress=self._progress,
                factors=self._factors,
                warn=self._warn,
            )
        return self._undamped[one.place]

    @property
    def preconditioner(self) -> str | None:
        """Which preconditioner the trained model got and why; None before it has one."""
        chosen = self._chosen.get(0)
        return None if chosen is None else f"{chosen.kind}: {chosen.reason}."


def _checked(shares: Sequence[float] | None, models: int) -> tuple[float, ...]:
    """The weights of the models, which sum to 1."""
    found = (1.0,) * models if shares is None else tuple(shares)
    fits = all(0 <= share < math.inf for share in found) and any(found)
    if len(found) != models or not fits:
        raise SettingError(
            f"checkpoint_weights is {shares}: expected {models} numbers, for the model and each "
            "checkpoint, none negative and not all zero."
        )
    return tuple(share / sum(found) for share in found)
