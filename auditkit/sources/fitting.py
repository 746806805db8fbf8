"""Training the model of a subject whose data comes without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from auditkit.pool import Pool
from auditkit.progress import Progress
from auditkit.seeds import seeded
from auditkit.subject import Recipe, Subject
from auditkit.tasks import ClassificationTask
from auditkit.training import fit

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions


@dataclass(frozen=True)
class Fitted:
    """A task whose model has been trained, how, and in words how well."""

    task: ClassificationTask
    recipe: Recipe
    sentence: str

    def subject(
        self, train: Pool, queries: Pool | None, *, name: str, description: Sequence[str]
    ) -> Subject:
        """The subject of the model and its data; how the model was made ends the description."""
        return Subject(
            task=self.task,
            train=train,
            queries=queries,
            recipe=self.recipe,
            name=name,
            description=(*description, self.sentence),
        )


def fit_classifier(
    make_model: Callable[[], nn.Module],
    train: Pool,
    *,
    class_names: Sequence[str],
    kind: str,
    epochs: int,
    options: SourceOptions,
    progress: Progress,
) -> Fitted:
    """Train a new model on the pool with early stopping, from `options.seed` alone.

    The recipe returned is the one that led to the weights kept: the rate that was chosen and the
    epochs up to the best one.
    """
    recipe = Recipe(
        weight_decay=1e-2,
        batch_size=options.batch_size or _batch_size(len(train)),
        epochs=epochs,
    )
    with seeded(options.seed):
        model = make_model()
    task = ClassificationTask(model, class_names=class_names)
    log = fit(
        model, task, train, recipe, seed=options.seed, device=options.device, progress=progress
    )
    weights = sum(weight.numel() for weight in model.parameters())
    accuracy = "" if log.held_out_accuracy is None else f"{log.held_out_accuracy:.1%}"
    sentence = (
        f"The data came without a model: {kind} with {weights:,} weights was trained on it for "
        f"{log.epochs} epochs, and is right on {accuracy} of the tenth that was held out to stop "
        "the training in time."
    )
    kept = replace(recipe, learning_rate=log.learning_rate, epochs=max(1, log.epochs))
    return Fitted(task, kept, sentence)


def _batch_size(examples: int) -> int:
    """Enough steps per epoch for small data, larger steps for large."""
    return 32 if examples < 2_000 else 64 if examples < 50_000 else 256
