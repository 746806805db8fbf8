"""Held-out measurements of a trained model, without training from scratch.

Cross-validation asks what a model says of examples it did not train on, and pays for it with one
full training per fold. Here each fold gets a private copy of the trained model instead:

1. **Shrink**: the copy's weights are blended with freshly initialized ones (compare Ash and Adams
   2020), which takes away most of what is memorized and keeps much of what is learnt.
2. **Unlearn**, if asked: one update of `update.py` against the whole fold.
3. **Replay**: a few epochs on the other folds, by the model's own recipe; the fold is measured
   after each of them, and the mean over epochs is its out-of-sample value.

Labels that are wrong and memorized are invisible in the training loss; out of sample they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auditkit.batches import every
from auditkit.engine.curvature import make_preconditioner
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.restore import blend, fresh_copy, private_copy
from auditkit.engine.update import make_update
from auditkit.errors import SettingError, TaskError
from auditkit.pool import Pool, Positions
from auditkit.progress import Progress
from auditkit.scores import ClassTables, Holdout, Planted, Planter
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
        unlearn: how far the fold's mean loss is raised by one update before the replay; 0 for none.
        damping: of that update's curvature.
    """

    keep: float = 0.3
    unlearn: float = 0.0
    damping: float = 1e-2


class _Sums:
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


class _Folder:
    """One fold after another is held out; adds up what the replayed models say."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        pool: Pool,
        *,
        settings: ReplaySettings,
        recipe: Recipe,
        fresh: Callable[[], nn.Module] | None,
        pretrained: Mapping[str, Tensor] | None,
        targets: Tensor | None,
        executor: LocalExecutor,
        seed: int,
    ) -> None:
        self.task, self.model, self.pool = task, model, pool
        self.settings, self.recipe = settings, recipe
        self.fresh, self.pretrained, self.targets = fresh, pretrained, targets
        self.executor, self.seed = executor, seed
        self.outside, self.replayed = _Sums(len(pool)), _Sums(len(pool))

    def run(self, held: Positions, rest: Positions, *, epochs: int, seed: int) -> None:
        """Hold out the examples at `held`: forget them, replay `rest`, measure, add up."""
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
            keep_probabilities=_has_classes(self.task),
            seed=seed,
            device=self.executor.device,
        )
        for epoch in passes:
            self.replayed.add(rest, epoch.losses, epoch.log_probabilities)
            model.eval()
            losses, logs, _ = measure(self.task, model, self.pool, held, executor=self.executor)
            self.outside.add(held, losses, logs)

    def start(self, held: Positions) -> nn.Module:
        """A copy of the model, shrunk and (if asked) with the fold unlearned."""
        model = private_copy(self.model, self.executor.device)
        if self.settings.keep < 1:
            blend(model, self.origin(), keep=self.settings.keep)
        if self.settings.unlearn > 0:
            self.unlearn(model, held)
        return model

    def origin(self) -> Mapping[str, Tensor]:
        """The weights to shrink toward: the pretrained ones, or newly initialized ones."""
        if self.pretrained is not None:
            return self.pretrained
        if self.fresh is not None:
            return dict(self.fresh().named_parameters())
        return dict(fresh_copy(self.model, self.executor.device).named_parameters())

    def unlearn(self, model: nn.Module, held: Positions) -> None:
        """Move the model against the whole fold, by one preconditioned update."""
        update = make_update(
            self.task.loss,
            model,
            self.pool,
            held,
            precondition=make_preconditioner(
                "kfac",
                self.task,
                model,
                self.pool,
                damping=self.settings.damping,
                seed=self.seed,
                device=self.executor.device,
            ),
            rise=self.settings.unlearn,
            executor=self.executor,
            device=self.executor.device,
        )
        moved = update.moved(model)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name in moved:
                    weight.copy_(moved[name])


def hold_out(
    task: Task,
    models: Iterable[nn.Module],
    pool: Pool,
    *,
    folds: int,
    epochs: int,
    repeats: int,
    plant: Planter | None,
    untrained: npt.NDArray[np.bool_] | None,
    replay: ReplaySettings,
    recipe: Recipe,
    fresh: Callable[[], nn.Module] | None,
    pretrained: Mapping[str, Tensor] | None,
    seed: int,
    executor: LocalExecutor,
    progress: Progress,
) -> Holdout:
    """Hold every example of the pool out once per repeat; see the module's docstring.

    Folds are stratified by label where the task has class outputs. Losses are cross-entropy there,
    and the task's loss elsewhere. Planted labels are trained on; what is measured, always, are the
    pool's own.

    Args:
        task: gives losses and outputs.
        models: the trained model, which is replayed, then those of its checkpoints.
        pool: the examples.
        folds: into how many parts the pool is cut.
        epochs: of replay.
        repeats: how many times, with other folds and fresh weights each.
        plant: chooses labels to exchange in training; None for none.
        untrained: bool [example]; examples that are measured in their folds and never replayed.
        replay: how a fold is forgotten.
        recipe: how the rest is replayed.
        fresh: gives a newly initialized model.
        pretrained: what to shrink toward instead.
        seed: for folds, fresh weights and orders.
        executor: runs the passes.
        progress: is told of every fold.

    Raises:
        SettingError: folds, epochs or repeats out of range.
        TaskError: labels to plant and no class outputs.
    """
    if not 2 <= folds <= len(pool) or epochs < 1 or repeats < 1 or not 0 <= replay.keep <= 1:
        raise SettingError(
            f"folds={folds}, epochs={epochs}, repeats={repeats}, keep={replay.keep} for "
            f"{len(pool)} examples: there must be two folds or more and no more than examples, at "
            "least one epoch and repeat, and keep between 0 and 1."
        )
    inside, trained, targets = _inside(task, models, pool, executor=executor)
    planted = _planted(task, inside, targets, plant)
    folder = _Folder(
        task,
        trained,
        pool,
        settings=replay,
        recipe=recipe,
        fresh=fresh,
        pretrained=pretrained,
        targets=_exchanged(targets, planted),
        executor=executor,
        seed=seed,
    )
    assigned = np.empty((repeats, len(pool)), dtype=np.int64)
    replayable = np.ones(len(pool), dtype=bool) if untrained is None else ~untrained
    with progress.step("holding folds out", repeats * folds) as step:
        for repeat in range(repeats):
            assigned[repeat] = assign(len(pool), targets, folds=folds, seed=seed + repeat)
            for fold in range(folds):
                held = np.flatnonzero(assigned[repeat] == fold)
                rest = np.flatnonzero((assigned[repeat] != fold) & replayable)
                folder.run(held, rest, epochs=epochs, seed=seed + repeat * folds + fold)
                step.advance()
    return Holdout(
        ids=pool.ids,
        inside=inside.losses,
        outside=folder.outside.losses,
        replayed=_known(folder.replayed.losses, folder.outside.losses),
        folds=assigned,
        classes=_tables(inside, folder, targets, planted),
    )


def assign(count: int, targets: Tensor | None, *, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each example, [example]: random, and stratified by label where there are any."""
    shuffled = stream(seed, "folds").permutation(count)
    assigned = np.empty(count, dtype=np.int64)
    # Dealt out class by class, every fold gets its share of each class, of rare ones too, for
    # which scikit-learn's StratifiedKFold has only a warning.
    if targets is not None:
        shuffled = shuffled[np.argsort(targets.numpy()[shuffled], kind="stable")]
    assigned[shuffled] = np.arange(count) % folds
    return assigned


def measure(
    task: Task, model: nn.Module, pool: Pool, positions: Positions, *, executor: LocalExecutor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Losses [example] and, with class outputs, log probabilities [example, class] and labels."""
    if not _has_classes(task):
        return executor.measure(task.loss, model, pool, positions=positions), None, None
    logs, targets = executor.log_probabilities(task, model, pool, positions=positions)
    return -logs.gather(1, targets[:, None])[:, 0], logs, targets


def _has_classes(task: Task) -> bool:
    return task.has_outputs and task.likelihood == "categorical"


def _inside(
    task: Task, models: Iterable[nn.Module], pool: Pool, *, executor: LocalExecutor
) -> tuple[_Sums, nn.Module, Tensor | None]:
    """What the trained model and its checkpoints say, the trained model, and the labels."""
    sums, trained, targets = _Sums(len(pool)), None, None
    for model in models:
        trained = model if trained is None else trained
        losses, logs, targets = measure(task, model, pool, every(pool), executor=executor)
        sums.add(every(pool), losses, logs)
    if trained is None:
        raise SettingError("There is no model to hold examples out of.")
    return sums, trained, targets


def _planted(
    task: Task, inside: _Sums, targets: Tensor | None, plant: Planter | None
) -> Planted | None:
    if plant is None:
        return None
    if inside.logs is None or targets is None:
        raise TaskError(f"Labels cannot be planted: {type(task).__name__} has no class outputs.")
    return plant(np.exp(inside.logs), targets.numpy())


def _exchanged(targets: Tensor | None, planted: Planted | None) -> Tensor | None:
    """The labels with the planted ones in their places; None where nothing is planted."""
    if planted is None or targets is None:
        return None
    exchanged = targets.clone()
    exchanged[torch.from_numpy(planted.positions)] = torch.from_numpy(planted.labels)
    return exchanged


def _tables(
    inside: _Sums, folder: _Folder, targets: Tensor | None, planted: Planted | None
) -> ClassTables | None:
    outside, replayed = folder.outside.logs, folder.replayed.logs
    if targets is None or inside.logs is None or outside is None or replayed is None:
        return None
    return ClassTables(
        targets=targets.numpy(),
        inside=inside.logs,
        outside=outside,
        replayed=_known(replayed, outside),
        planted=planted,
    )


def _known(
    values: npt.NDArray[np.float32], instead: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The values, and others in their place where an example was never trained on."""
    known: npt.NDArray[np.float32] = np.where(np.isnan(values), instead, values)
    return known
