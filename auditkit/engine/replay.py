"""Replaying a trained model: shrink it toward fresh weights and train it on for a few epochs.

`Replays` does so once per fold of a holdout, on all but the fold (`holdout.py`); `ReplayedModels`
on all examples, for models that stand beside the trained one (`models.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auditkit.batches import every
from auditkit.engine.nearest import CANDIDATES, nearest
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.preconditioner import make_preconditioner
from auditkit.engine.readings import features
from auditkit.engine.restore import blend, fresh_copy, private_copy
from auditkit.engine.units import unit_of_rises
from auditkit.engine.update import Query, ascent, make_update
from auditkit.errors import SettingError
from auditkit.pool import Pool, Positions
from auditkit.seeds import stream
from auditkit.subject import Recipe, Task
from auditkit.training import epochs as train_epochs
from auditkit.training import with_learning_rate


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """How a fold is forgotten and the rest replayed.

    Attributes:
        keep: the share of the trained weights in the blend with fresh ones; 0 is short training
            from scratch, 1 leaves the weights as they are.
        unlearn: how far the fold's mean loss is raised by one update before the replay, in the unit
            of every rise (`units.py`); 0 for none.
        damping: of that update's curvature.

    Raises:
        SettingError: keep outside 0 to 1, or a negative unlearn.
    """

    keep: float = 0.25
    unlearn: float = 0.0
    damping: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not (0 <= self.keep <= 1 and self.unlearn >= 0):
            raise SettingError(
                f"keep={self.keep} and unlearn={self.unlearn}: keep must be between 0 and 1 and "
                "unlearn at least 0."
            )


@dataclass(frozen=True)
class Origin:
    """Where training began, or could have: what weights are shrunk toward.

    Attributes:
        fresh: gives a newly initialized model; None for every layer's `reset_parameters`.
        pretrained: the weights training began from, of all layers or of some.
        device: where copies are made.
    """

    fresh: Callable[[], nn.Module] | None
    pretrained: Mapping[str, Tensor] | None
    device: torch.device

    def weights(self, model: nn.Module) -> Mapping[str, Tensor]:
        """The pretrained weights, and newly initialized ones elsewhere.

        Raises:
            TaskError: the model cannot be initialized anew.
        """
        trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
        if self.pretrained is not None and trained <= set(self.pretrained):
            return self.pretrained
        fresh = fresh_copy(model, self.device) if self.fresh is None else self.fresh()
        return {**dict(fresh.named_parameters()), **(self.pretrained or {})}

    def shrunk(self, model: nn.Module, *, keep: float) -> nn.Module:
        """A copy of the model that keeps a share of its weights and has the rest from here."""
        copied = private_copy(model, self.device)
        if keep < 1:
            blend(copied, self.weights(model), keep=keep)
        return copied


class Sums:
    """Losses, and log probabilities with class outputs, added up by example."""

    def __init__(self, count: int) -> None:
        self._losses, self._times = torch.zeros(count), torch.zeros(count)
        self._logs: Tensor | None = None

    def add(self, positions: Positions, losses: Tensor, logs: Tensor | None) -> None:
        """Add one measurement of the examples at `positions`."""
        self._losses[positions] += losses
        self._times[positions] += 1
        if logs is not None:
            if self._logs is None:
                self._logs = torch.zeros(len(self._losses), logs.shape[1])
            self._logs[positions] += logs

    @property
    def losses(self) -> npt.NDArray[np.float32]:
        """Mean loss, [example]; NaN where nothing was added."""
        return (self._losses / self._times).numpy()

    @property
    def logs(self) -> npt.NDArray[np.float32] | None:
        """Mean log probabilities, [example, class]; NaN where nothing was added."""
        return None if self._logs is None else (self._logs / self._times[:, None]).numpy()


class Replays:
    """Holds one fold after another out, and adds up what the replayed models say."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        pool: Pool,
        *,
        settings: ReplaySettings,
        recipe: Recipe,
        origin: Origin,
        targets: Tensor | None,
        executor: LocalExecutor,
        seed: int,
    ) -> None:
        self.task, self.model, self.pool = task, model, pool
        self.settings, self.recipe = settings, recipe
        self.origin, self.targets = origin, targets
        self.executor, self.seed = executor, seed
        self.outside, self.replayed = Sums(len(pool)), Sums(len(pool))
        self._rises_by: float | None = None

    def run(
        self,
        held: Positions,
        rest: Positions,
        *,
        epochs: int,
        seed: int,
        neighbours: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Hold out the examples at `held`: forget them, replay `rest`, measure, add up.

        Args:
            held: the fold.
            rest: what is trained on.
            epochs: of training.
            seed: for the order of training.
            neighbours: [example, neighbour]; is filled at `held`, if given.
        """
        model = self.start(held)
        self.recipe = with_learning_rate(  # chosen once, on the first fold
            self.recipe,
            model,
            self.task,
            self.pool,
            positions=rest,
            seed=seed,
            device=self.executor.device,
        )
        passes = train_epochs(
            model,
            self.task,
            self.pool,
            self.recipe,
            count=epochs,
            positions=rest,
            targets=self.targets,
            keep_probabilities=has_classes(self.task),
            seed=seed,
            device=self.executor.device,
        )
        for epoch in passes:
            self.replayed.add(rest, epoch.losses, epoch.log_probabilities)
            model.eval()
            losses, logs, _ = measure(self.task, model, self.pool, held, executor=self.executor)
            self.outside.add(held, losses, logs)
        if neighbours is not None:
            neighbours[held] = self.nearest(model, held, neighbours.shape[1], seed)

    def nearest(
        self, model: nn.Module, held: Positions, count: int, seed: int
    ) -> npt.NDArray[np.int64]:
        """The neighbours of the examples at `held` among all others, in a replayed model's eyes."""
        among = every(self.pool)
        if len(among) > CANDIDATES:
            among = np.sort(stream(seed, "neighbours").permutation(among)[:CANDIDATES])
        needed = np.union1d(held, among)
        seen = features(
            self.task,
            model,
            self.pool.subset(needed),
            self.executor,
            batch_size=self.recipe.batch_size,  # no more memory than training has taken
        )
        places = nearest(
            torch.from_numpy(seen).to(self.executor.device),
            np.searchsorted(needed, held),
            np.searchsorted(needed, among),
            count=count,
        )
        found: npt.NDArray[np.int64] = np.where(places < 0, -1, needed[places])
        return found

    def start(self, held: Positions) -> nn.Module:
        """A copy of the model, shrunk and (if asked) with the fold unlearned."""
        model = self.origin.shrunk(self.model, keep=self.settings.keep)
        if self.settings.unlearn > 0:
            self.unlearn(model, held)
        return model

    def _unit(self) -> float:
        """What a rise of 1 is, by the trained model, found once."""
        if self._rises_by is None:
            self._rises_by = unit_of_rises(self.task, self.model, self.pool, self.executor)
        return self._rises_by

    def unlearn(self, model: nn.Module, held: Positions) -> None:
        """Move the model against the whole fold, by one preconditioned update."""
        query = Query(self.task.loss, model, self.pool, held, self.executor, self.executor.device)
        chosen = make_preconditioner(
            "kfac",
            self.task,
            model,
            self.pool,
            damping=self.settings.damping,
            seed=self.seed,
            device=self.executor.device,
        )
        update = make_update(
            query,
            *ascent(query, chosen.solve),
            precondition=chosen.solve,
            rise=self.settings.unlearn * self._unit(),
        )
        moved = update.moved(model)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name in moved:
                    weight.copy_(moved[name])


def measure(
    task: Task, model: nn.Module, pool: Pool, positions: Positions, *, executor: LocalExecutor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Losses [example] and, with class outputs, log probabilities [example, class] and labels."""
    if not has_classes(task):
        return executor.measure(task.loss, model, pool, positions=positions), None, None
    logs, targets = executor.log_probabilities(task, model, pool, positions=positions)
    return -logs.gather(1, targets[:, None])[:, 0], logs, targets


def has_classes(task: Task) -> bool:
    """Whether the task gives class scores."""
    return task.has_outputs and task.likelihood == "categorical"
