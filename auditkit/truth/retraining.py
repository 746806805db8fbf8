"""One retraining: a train pool and a recipe in, a newly trained model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from auditkit.batches import every
from auditkit.engine.restore import fresh_copy, private_copy
from auditkit.engine.sides import Measure
from auditkit.errors import PoolError, SettingError, TaskError
from auditkit.gradients import differentiable
from auditkit.pool import Pool, Positions
from auditkit.progress import SILENT, Progress
from auditkit.seeds import seeded, stream
from auditkit.subject import Recipe, Subject, Task
from auditkit.training import epochs, evaluate, with_learning_rate

MOST_EPOCHS = 64
"""After so many epochs, `epochs_needed` gives up."""

_JUDGED = 1_024


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """What is trained again, how, and what is measured after it.

    Attributes:
        task: gives the losses, and the architecture by its model, which is never changed.
        train: the train pool.
        queries: what is measured under the retrained models; not needed by `retrain`.
        recipe: how to train, `recipe.epochs` epochs. Without a learning rate one is chosen on the
            whole train pool, the same for all retrainings.
        fresh: gives the model to train, which is copied; by default the task's model with its
            parameters reset.
        pretrained: weights that every training begins from, by name, in place of fresh ones.
        targets: int64 [train]; labels to train on in place of the pool's own.
        measure: what is read off the queries: the loss, or the task's own measure (`auto`).
        seed: the first retraining's; further ones of the same examples have the seeds after it.
        device: torch's name of the device to work on.
        batch_size: queries per forward pass; halved where memory runs out.
    """

    task: Task
    train: Pool
    queries: Pool | None = None
    recipe: Recipe = field(default_factory=Recipe)
    fresh: Callable[[], nn.Module] | None = None
    pretrained: Mapping[str, Tensor] | None = None
    targets: Tensor | None = None
    measure: Measure = "auto"
    seed: int = 0
    device: str | torch.device = "cpu"
    batch_size: int | None = None

    @classmethod
    def of(cls, subject: Subject) -> Retraining:
        """The retraining of a subject; `dataclasses.replace` changes the rest."""
        return cls(
            task=subject.required_task(),
            train=subject.train,
            queries=subject.queries,
            recipe=subject.recipe,
            fresh=subject.fresh,
            pretrained=subject.pretrained,
        )

    @property
    def measure_name(self) -> str:
        """What is measured, by name."""
        return self.task.measure_name if self.measure == "auto" else self.measure

    @property
    def asked(self) -> Pool:
        """The queries.

        Raises:
            SettingError: there are none.
        """
        if self.queries is None:
            raise SettingError("There are no queries to measure: give Retraining(queries=...).")
        return self.queries


@dataclass(frozen=True)
class Leg:
    """One retraining of many: on which examples, without which of them, and by which seed.

    `positions` are trained on in batches of their own, all of the pool if None; those of them in
    `left_out` are taken out of their batches (see `auditkit.training.epochs`).
    """

    seed: int
    positions: Positions | None = None
    left_out: Positions | None = None


def retrain(
    retraining: Retraining,
    *,
    seed: int | None = None,
    positions: Positions | None = None,
    left_out: Positions | None = None,
) -> nn.Module:
    """A newly trained model, in evaluation mode.

    The caller's model and random states are as before.

    Args:
        retraining: what is trained and how.
        seed: for fresh weights and everything random in training; by default the retraining's own.
        positions: the training examples; by default all.
        left_out: examples among them that are taken out of their batches; order, batches and
            learning rates of the others stay as they are with them.

    Raises:
        PoolError: no example is left to train on, or targets of another number than examples.
        TaskError: the model cannot be initialized anew.
        NonFiniteLossError: the loss became NaN or infinite; the message names an example.
    """
    seed = retraining.seed if seed is None else seed
    return trained(with_rate(retraining), Leg(seed, positions, left_out))


def trained(retraining: Retraining, leg: Leg) -> nn.Module:
    """The model of one leg; the recipe must have its learning rate."""
    targets = retraining.targets
    if targets is not None and len(targets) != len(retraining.train):
        raise PoolError(
            f"There are {len(targets)} targets for {len(retraining.train)} training examples: "
            "give one per example of the whole train pool."
        )
    with seeded(leg.seed, "retraining"), differentiable():
        model = initialized(retraining)
        passes = epochs(
            model,
            retraining.task,
            retraining.train,
            retraining.recipe,
            count=retraining.recipe.epochs,
            positions=leg.positions,
            left_out=leg.left_out,
            targets=targets,
            seed=leg.seed,
            device=retraining.device,
        )
        for _ in passes:
            pass
    return model.eval()


def epochs_needed(
    retraining: Retraining, *, most: int = MOST_EPOCHS, progress: Progress = SILENT
) -> int | None:
    """How many epochs make a new model as good as the task's on training examples.

    A model is trained anew, with a constant learning rate, until its mean loss on up to 1,024
    training examples is at most a tenth and a hundredth of a nat above that of the task's model.

    Args:
        retraining: what is trained and how; its recipe's `epochs` is not read.
        most: after so many it is given up.
        progress: is told of every epoch.

    Returns:
        The number of epochs; None where `most` are not enough.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite; the message names an example.
        TaskError: the model cannot be initialized anew.
    """
    retraining = with_rate(retraining)
    task, train, device = retraining.task, retraining.train, torch.device(retraining.device)
    judged = stream(retraining.seed, "epochs needed").permutation(every(train))[:_JUDGED]

    def loss(model: nn.Module) -> float:
        return evaluate(
            model,
            task,
            train,
            positions=judged,
            batch_size=retraining.recipe.batch_size,
            device=device,
        )[0]

    with seeded(retraining.seed, "epochs needed"), differentiable():
        wanted = loss(private_copy(task.model, device)) * 1.1 + 0.01
        model = initialized(retraining)
        passes = epochs(
            model,
            task,
            train,
            replace(retraining.recipe, schedule="constant"),
            count=most,
            seed=retraining.seed,
            device=device,
        )
        with progress.step("training until as good", most) as step:
            for epoch in passes:
                step.advance()
                if loss(model) <= wanted:
                    return epoch.number
    return None


def with_rate(retraining: Retraining) -> Retraining:
    """The retraining with a learning rate in its recipe, chosen on the whole train pool."""
    recipe = retraining.recipe
    if recipe.learning_rate is not None or callable(recipe.optimizer):
        return retraining
    with seeded(retraining.seed, "rate of retraining"), differentiable():
        recipe = with_learning_rate(
            recipe,
            initialized(retraining),
            retraining.task,
            retraining.train,
            seed=retraining.seed,
            device=retraining.device,
        )
    return replace(retraining, recipe=recipe)


def initialized(retraining: Retraining) -> nn.Module:
    """A model of the caller's that is not the caller's, as its training begins.

    Raises:
        TaskError: the model cannot be initialized anew, or pretrained weights do not fit it.
    """
    device, given = torch.device(retraining.device), retraining.pretrained or {}
    own = retraining.task.model
    if retraining.fresh is not None:
        model = private_copy(retraining.fresh(), device)
    elif all(name in given for name, weight in own.named_parameters() if weight.requires_grad):
        model = private_copy(own, device)
    else:
        model = fresh_copy(own, device)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name in given:
                if given[name].shape != value.shape:
                    raise TaskError(
                        f"The weight {name!r} has shape {tuple(value.shape)} in the model and "
                        f"{tuple(given[name].shape)} in the pretrained weights: give those of the "
                        "same model, or leave it out."
                    )
                value.copy_(given[name])
    return model
