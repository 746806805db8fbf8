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

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auditkit.batches import every
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.replay import Origin, Replays, ReplaySettings, Sums, measure
from auditkit.errors import SettingError, TaskError
from auditkit.pool import Pool
from auditkit.progress import Progress
from auditkit.scores import ClassTables, Holdout, Planted, Planter
from auditkit.seeds import stream
from auditkit.subject import Recipe, Task


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
    neighbours: int,
    replay: ReplaySettings,
    recipe: Recipe,
    origin: Origin,
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
        neighbours: how many of each example's neighbours are looked for; 0 for none.
        replay: how a fold is forgotten.
        recipe: how the rest is replayed.
        origin: what is shrunk toward.
        seed: for folds, fresh weights and orders.
        executor: runs the passes.
        progress: is told of every fold.

    Raises:
        SettingError: folds, epochs, repeats or neighbours out of range; `untrained` or what is
            planted does not fit the pool.
        TaskError: labels to plant and no class outputs; neighbours and no features.
    """
    if not 2 <= folds <= len(pool) or epochs < 1 or repeats < 1:
        raise SettingError(
            f"folds={folds}, epochs={epochs}, repeats={repeats} for {len(pool)} examples: there "
            "must be two folds or more, no more than examples, and at least one epoch and repeat."
        )
    if neighbours < 0:
        raise SettingError(f"neighbours={neighbours}: expected a number of neighbours, or 0.")
    replayable = _replayable(untrained, len(pool))
    inside, trained, targets = _inside(task, models, pool, executor=executor)
    planted = _planted(task, inside, targets, plant)
    replays = Replays(
        task,
        trained,
        pool,
        settings=replay,
        recipe=recipe,
        origin=origin,
        targets=_exchanged(targets, planted),
        executor=executor,
        seed=seed,
    )
    assigned = np.empty((repeats, len(pool)), dtype=np.int64)
    near = np.full((repeats, len(pool), neighbours), -1, dtype=np.int64) if neighbours else None
    with progress.step("holding folds out", repeats * folds) as step:
        for repeat in range(repeats):
            assigned[repeat] = assign(len(pool), targets, folds=folds, seed=seed + repeat)
            for fold in range(folds):
                held = np.flatnonzero(assigned[repeat] == fold)
                rest = np.flatnonzero((assigned[repeat] != fold) & replayable)
                replays.run(
                    held,
                    rest,
                    epochs=epochs,
                    seed=seed + repeat * folds + fold,
                    neighbours=None if near is None else near[repeat],
                )
                step.advance()
    return Holdout(
        ids=pool.ids,
        inside=inside.losses,
        outside=replays.outside.losses,
        replayed=_known(replays.replayed.losses, replays.outside.losses),
        folds=assigned,
        classes=_tables(inside, replays, targets, planted),
        neighbours=near,
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


def _inside(
    task: Task, models: Iterable[nn.Module], pool: Pool, *, executor: LocalExecutor
) -> tuple[Sums, nn.Module, Tensor | None]:
    """What the trained model and its checkpoints say, the trained model, and the labels."""
    sums, trained, targets = Sums(len(pool)), None, None
    for model in models:
        trained = model if trained is None else trained
        losses, logs, targets = measure(task, model, pool, every(pool), executor=executor)
        sums.add(every(pool), losses, logs)
    if trained is None:
        raise SettingError("There is no model to hold examples out of.")
    return sums, trained, targets


def _planted(
    task: Task, inside: Sums, targets: Tensor | None, plant: Planter | None
) -> Planted | None:
    if plant is None:
        return None
    if inside.logs is None or targets is None:
        raise TaskError(f"Labels cannot be planted: {type(task).__name__} has no class outputs.")
    planted = plant(np.exp(inside.logs), targets.numpy())
    classes, fits = inside.logs.shape[1], planted.positions.shape == planted.labels.shape
    for values, end in ((planted.positions, len(targets)), (planted.labels, classes)):
        fits = fits and values.ndim == 1 and bool(((values >= 0) & (values < end)).all())
    if not fits:
        raise SettingError(
            f"What is planted does not fit the pool: expected as many labels, 0 to {classes - 1}, "
            f"as positions, 0 to {len(targets) - 1}."
        )
    return planted


def _replayable(untrained: npt.NDArray[np.bool_] | None, count: int) -> npt.NDArray[np.bool_]:
    if untrained is None:
        return np.ones(count, dtype=bool)
    if untrained.shape != (count,) or untrained.all():
        raise SettingError(
            f"`untrained` has shape {untrained.shape} and {int(untrained.sum())} true entries for "
            f"{count} examples: expected one entry per example, and some to train on."
        )
    return ~untrained.astype(bool)


def _exchanged(targets: Tensor | None, planted: Planted | None) -> Tensor | None:
    """The labels with the planted ones in their places; None where nothing is planted."""
    if planted is None or targets is None:
        return None
    exchanged = targets.clone()
    exchanged[torch.from_numpy(planted.positions)] = torch.from_numpy(planted.labels).long()
    return exchanged


def _tables(
    inside: Sums, replays: Replays, targets: Tensor | None, planted: Planted | None
) -> ClassTables | None:
    outside, replayed = replays.outside.logs, replays.replayed.logs
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
