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

from collections.abc import Callable, Mapping
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
from auditkit.scores import Holdout, Planted
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

    keep: float = 0.4
    unlearn: float = 0.0
    damping: float = 1e-2


@dataclass(frozen=True)
class _Measured:
    """A pool under one model: losses [example] and, with class outputs, the rest."""

    losses: Tensor
    log_probabilities: Tensor | None = None
    targets: Tensor | None = None


class _Folder:
    """One pass through all folds after another, adding up what they say."""

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
        self.outside = torch.zeros(len(pool))
        self.replayed = torch.zeros(len(pool))
        self.log_probabilities: Tensor | None = None
        self.measured, self.seen = torch.zeros(len(pool)), torch.zeros(len(pool))

    def run(self, held: Positions, rest: Positions, *, epochs: int, step: int) -> None:
        """Hold out the examples at `held`: forget them, replay `rest`, measure, add up."""
        model = self.start(held)
        recipe = with_learning_rate(
            self.recipe,
            model,
            self.task,
            self.pool,
            positions=rest,
            seed=self.seed + step,
            device=self.executor.device,
        )
        self.recipe = recipe  # chosen once, on the first fold
        passes = train_epochs(
            model,
            self.task,
            self.pool,
            recipe,
            count=epochs,
            positions=rest,
            targets=self.targets,
            seed=self.seed + step,
            device=self.executor.device,
        )
        for epoch in passes:
            self.replayed[rest] += epoch.losses
            self.seen[rest] += 1
            model.eval()
            self.add(measure(self.task, model, self.pool, held, executor=self.executor), held)

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

    def add(self, measured: _Measured, held: Positions) -> None:
        """Add one measurement of a held-out fold."""
        self.outside[held] += measured.losses
        self.measured[held] += 1
        if measured.log_probabilities is not None:
            if self.log_probabilities is None:
                classes = measured.log_probabilities.shape[1]
                self.log_probabilities = torch.zeros(len(self.pool), classes)
            self.log_probabilities[held] += measured.log_probabilities


def hold_out(
    task: Task,
    model: nn.Module,
    pool: Pool,
    *,
    folds: int,
    epochs: int,
    repeats: int,
    planted: Planted | None,
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
    inside = measure(task, model, pool, every(pool), executor=executor)
    folder = _Folder(
        task,
        model,
        pool,
        settings=replay,
        recipe=recipe,
        fresh=fresh,
        pretrained=pretrained,
        targets=_exchanged(task, inside.targets, planted),
        executor=executor,
        seed=seed,
    )
    assigned = np.empty((repeats, len(pool)), dtype=np.int64)
    with progress.step("holding folds out", repeats * folds) as step:
        for repeat in range(repeats):
            assigned[repeat] = assign(len(pool), inside.targets, folds=folds, seed=seed + repeat)
            for fold in range(folds):
                held = np.flatnonzero(assigned[repeat] == fold)
                rest = np.flatnonzero(assigned[repeat] != fold)
                folder.run(held, rest, epochs=epochs, step=repeat * folds + fold)
                step.advance()
    outside_log = folder.log_probabilities
    return Holdout(
        ids=pool.ids,
        inside=inside.losses.numpy(),
        outside=(folder.outside / folder.measured).numpy(),
        replayed=(folder.replayed / folder.seen).numpy(),
        folds=assigned,
        probabilities_inside=_probabilities(inside.log_probabilities),
        probabilities_outside=_probabilities(
            None if outside_log is None else outside_log / folder.measured[:, None]
        ),
        targets=None if inside.targets is None else inside.targets.numpy(),
        planted=planted,
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
) -> _Measured:
    """The loss of examples under a model, and their log probabilities with class outputs."""
    if not (task.has_outputs and task.likelihood == "categorical"):
        return _Measured(executor.measure(task.loss, model, pool, positions=positions))
    logs, targets = executor.log_probabilities(task, model, pool, positions=positions)
    return _Measured(-logs.gather(1, targets[:, None])[:, 0], logs, targets)


def _exchanged(task: Task, targets: Tensor | None, planted: Planted | None) -> Tensor | None:
    if planted is None:
        return None
    if targets is None:
        raise TaskError(f"Labels cannot be planted: {type(task).__name__} has no class outputs.")
    exchanged = targets.clone()
    exchanged[torch.from_numpy(planted.positions)] = torch.from_numpy(planted.labels)
    return exchanged


def _probabilities(logs: Tensor | None) -> npt.NDArray[np.float32] | None:
    return None if logs is None else logs.softmax(dim=1).numpy()
