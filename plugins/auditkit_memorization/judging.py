"""Measuring the train pool, and judging every example of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit import ClassTables
from auditkit.errors import LabelError
from auditkit_memorization.correctness import retrained_halves
from auditkit_memorization.estimate import Estimate, Halves, estimate, opinions, reliability
from auditkit_memorization.settings import Context
from auditkit_memorization.verdicts import HeldOut, held_out, verdicts

_KEEP = 0.2
"""What replays keep of the trained weights; more, and they still know the held-out labels."""

_APART = 1_009
"""Between the seeds of two repeats, so that none of their folds have one in common."""

_FAR = 0.1
"""A difference of accuracy from which on the recipe is said not to make the model."""


@dataclass(frozen=True)
class Judged:
    """All that is known of the train pool.

    Attributes:
        tables: of every holdout.
        estimate: of memorization.
        said: the calibrated opinion of the held-out models.
        verdict: what each example is, [example].
        names: of the classes, [class].
        reliability: how well other folds would rank the examples again; None where one repeat
            cannot say.
    """

    tables: Sequence[ClassTables]
    estimate: Estimate
    said: HeldOut
    verdict: npt.NDArray[np.str_]
    names: npt.NDArray[np.str_]
    reliability: float | None

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The given labels, int64 [example]."""
        return self.tables[0].targets


def judge(context: Context) -> Judged:
    """Measure the train pool and judge every example of it.

    Raises:
        LabelError: fewer than two classes among the labels, or not one name per class.
    """
    _refuse_one_class(context)
    settings, train = context.settings, context.subject.train
    epochs = settings.replay_epochs(len(train), context.subject.recipe.batch_size)
    tables = []
    for repeat in range(settings.repeats):
        held = context.engine.holdout(
            folds=settings.folds,
            epochs=epochs,
            keep=_KEEP,
            seed=context.seed + repeat * _APART,
        )
        if held.classes is None:
            raise ValueError("A task with categorical outputs gives class tables.")
        tables.append(held.classes)
    halves = None
    if settings.retrainings:
        halves = retrained_halves(context, count=settings.retrainings)
        _warn_of_another_recipe(context, tables[0], halves)
    found = estimate(opinions(tables), halves, threshold=settings.threshold)
    said = held_out(tables)
    return Judged(
        tables=tables,
        estimate=found,
        said=said,
        verdict=verdicts(
            found.memorization,
            found.with_it,
            said,
            tables[0].targets,
            threshold=settings.threshold,
        ),
        names=_class_names(context, tables[0]),
        reliability=_reliability(tables),
    )


def _reliability(tables: Sequence[ClassTables]) -> float | None:
    """How well the replays' part of the estimate would rank again; None of one repeat."""
    if len(tables) < 2:
        return None
    halves = [tables[0::2], tables[1::2]]
    found = reliability(*(opinions(half).likely for half in halves))
    return found if np.isfinite(found) else None


def _refuse_one_class(context: Context) -> None:
    targets = context.engine.evaluate().targets
    if targets is not None and len(np.unique(targets)) < 2:
        raise LabelError(
            "All labels are of one class: the memorization audit needs at least two classes."
        )


def _warn_of_another_recipe(context: Context, tables: ClassTables, halves: Halves) -> None:
    """A warning where trainings by the recipe fit their examples unlike the model does."""
    trained = float((tables.inside.argmax(axis=1) == tables.targets).mean())
    again = float(halves.right[halves.members].mean())
    if abs(trained - again) > _FAR:
        context.note(
            f"The model is right on {trained:.0%} of its training examples, and models trained by "
            f"the recipe on half of them on {again:.0%} of theirs: the recipe is perhaps not how "
            "the model was trained, and the estimates are of models trained by the recipe.",
            level="warning",
        )


def _class_names(context: Context, tables: ClassTables) -> npt.NDArray[np.str_]:
    given, classes = context.task.class_names, tables.inside.shape[1]
    if given is not None and len(given) != classes:
        raise LabelError(
            f"The task has {len(given)} class names and its outputs are of {classes} classes: give "
            "a name per class, in the order of the outputs."
        )
    return np.array([str(k) for k in range(classes)] if given is None else given)
