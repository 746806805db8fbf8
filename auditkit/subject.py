"""What a user writes: a `Task`, a `Recipe`, and the `Subject` that holds them with the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, Union

from auditkit.choices import check_choice
from auditkit.errors import MissingOutputsError, SettingError, TaskError, UsageError
from auditkit.pool import Pool

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Batch: TypeAlias = Union[Tensor, Sequence["Batch"], Mapping[str, "Batch"]]
    """What a data loader gives: a tensor, or a tuple, list or mapping of batches."""

Likelihood: TypeAlias = Literal["categorical", "gaussian", "tokens"]
"""How outputs are judged: cross-entropy on class scores, squared error, or the mean over tokens of
cross-entropy on their scores."""

NOT_COUNTED = -100
"""The label of a token that is not to be predicted, as torch and Hugging Face have it."""

TARGET_KEYS = ("label", "labels", "target", "targets", "y")
"""Under which key a mapping batch may hold its targets; the first one present is taken."""


class Task(ABC):
    """A model, its loss per training example, and what a query asks about.

    Write `loss`; write `outputs` too if the model has class scores or real-valued outputs, and
    curvature, probabilities and correctness become available. The methods are given the model to
    use, which may hold other weights than `self.model`; they run it and change nothing.

    Every measure is oriented so that training lowers it, hence ascent on it always unlearns.

    Args:
        model: the trained model. It is never changed.
        class_names: a name per class, in the order of the class scores.
    """

    measure_name: ClassVar[str] = "loss"
    """What `measure` gives, as settings and reports name it."""

    likelihood: ClassVar[Likelihood | None] = None
    """How `outputs` are judged; None where the task declares none."""

    def __init__(self, model: nn.Module, *, class_names: Sequence[str] | None = None) -> None:
        self.model = model
        self.class_names = None if class_names is None else tuple(class_names)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The training loss of each example of the batch, [batch], without regularization."""

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        """What a query asks about, [batch]; lower is better learnt. By default the loss."""
        return self.loss(model, batch)

    @property
    def measures(self) -> Mapping[str, Callable[[nn.Module, Batch], Tensor]]:
        """The functions that an example can be measured by, by name."""
        own = {} if self.measure_name == "loss" else {self.measure_name: self.measure}
        return {"loss": self.loss, **own}

    @property
    def draws(self) -> int:
        """How many random draws an example's loss is the mean of; 1 where nothing is drawn."""
        return 1

    def one_draw(self, batch: Batch, which: Tensor | int) -> Batch:
        """A prepared batch with one draw of each example, by any numbers, int64 [batch], or one.

        Curvature is estimated on such batches: many examples at one draw say more of it than few
        examples at many.
        """
        return batch

    def prepared(self, pool: Pool, *, device: torch.device, asked: bool = False) -> Pool:
        """The pool as the engine is to measure it: the same ids in the same order.

        Called once per pool. What costs much and does not depend on the model's weights belongs
        here, and keys that an example's random numbers are drawn by. The methods above must take
        batches of the pool and of what this makes of it.

        What is returned is kept as long as the pool it was made of, so it must not refer to that
        pool, or neither is ever freed. A `pool.subset` does, by its previews: make a `Pool` of the
        data set that is measured, with the same ids.

        Args:
            pool: the examples.
            device: torch's device to work on.
            asked: whether they are queries, whose numbers must be others than those of training
                examples that happen to have their ids.
        """
        return pool

    def features(self, model: nn.Module, batch: Batch) -> Tensor:
        """What the model sees in each example, to find similar ones by: [batch, feature].

        Raises:
            MissingOutputsError: the task does not define it; the engine then takes what goes into
                the model's last linear layer.
        """
        raise MissingOutputsError(f"{type(self).__name__} does not define `features`.")

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Class scores [batch, class] and labels [batch], or predictions and targets [batch, k].

        With `likelihood="tokens"`, scores [batch, token, class] and labels [batch, token], of which
        `NOT_COUNTED` are left out.

        Raises:
            MissingOutputsError: the task does not define it.
        """
        raise MissingOutputsError(
            f"{type(self).__name__} does not define `outputs`, which this needs: add a method "
            "`outputs(model, batch)` that returns (class scores, labels), and set `likelihood`."
        )

    def token_measure(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The negative log-odds of each token, and which of them count: both [batch, token].

        `log(1 - p) - log p` for the token's probability p, so that its loss follows from it.

        Raises:
            MissingOutputsError: the task's examples have no tokens.
        """
        raise MissingOutputsError(
            f"{type(self).__name__} does not define `token_measure`, so what it measures cannot be "
            "told apart by token: take a LanguageModelTask, or leave `tokens` out."
        )

    def with_targets(self, batch: Batch, targets: Tensor) -> Batch:
        """The batch with other targets: the last entry of a tuple, or the label of a mapping.

        They take the type and shape of those they replace: a loss on floats is given floats.

        Raises:
            TaskError: a batch of another form; override this method for it.
        """
        if isinstance(batch, tuple | list) and len(batch) >= 2:
            exchanged = (*batch[:-1], _like(targets, batch[-1]))
            return type(batch)(*exchanged) if hasattr(batch, "_fields") else exchanged
        if isinstance(batch, Mapping):
            for key in TARGET_KEYS:
                if key in batch:
                    return {**batch, key: _like(targets, batch[key])}
        raise TaskError(
            f"{type(self).__name__} cannot exchange the labels of a {type(batch).__name__} batch: "
            "define `with_targets(batch, targets)`."
        )

    def loss_and_outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The training loss, [batch], and the outputs it came with, without their gradient.

        Used where a training loop wants both. By default two passes; override it where one will
        do, as `ClassificationTask` does.
        """
        import torch  # noqa: PLC0415 - this module is imported without torch

        loss, training = self.loss(model, batch), model.training
        with torch.no_grad():
            outputs, _ = self.outputs(model.eval(), batch)
        model.train(training)
        return loss, outputs

    @property
    def has_outputs(self) -> bool:
        """Whether the task defines `outputs`."""
        return type(self).outputs is not Task.outputs


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the model is trained, for whatever retrains it or replays a part of its training.

    Attributes:
        optimizer: a name, or a function from parameters to an optimizer (then `learning_rate`,
            `weight_decay` and `momentum` are its own affair).
        learning_rate: None lets the replay choose one by held-out loss on a small part.
        weight_decay: as the optimizer understands it.
        momentum: for `sgd` only.
        batch_size: examples per step.
        epochs: passes over the data in the original training.
        schedule: the learning rate over the whole of a training.
        augment: changes a training batch, e.g. flips images; never applied when measuring.

    Raises:
        SettingError: a number out of its range.
    """

    optimizer: Literal["adamw", "adam", "sgd"] | Callable[..., torch.optim.Optimizer] = "adamw"
    learning_rate: float | None = None
    weight_decay: float = 0.0
    momentum: float = 0.0
    batch_size: int = 64
    epochs: int = 10
    schedule: Literal["constant", "cosine"] = "constant"
    augment: Callable[[Batch], Batch] | None = None

    def __post_init__(self) -> None:
        if not callable(self.optimizer):
            check_choice("optimizer", self.optimizer, Literal["adamw", "adam", "sgd"])
        check_choice("schedule", self.schedule, Literal["constant", "cosine"])
        if self.batch_size < 1 or self.epochs < 1:
            raise SettingError(
                f"The recipe has batch_size={self.batch_size} and epochs={self.epochs}: both must "
                "be 1 or more."
            )
        rates = (self.learning_rate or 0.0, self.weight_decay, self.momentum)
        if not all(0 <= rate < float("inf") for rate in rates):
            raise SettingError(
                f"The recipe has learning_rate={self.learning_rate}, weight_decay="
                f"{self.weight_decay} and momentum={self.momentum}: all must be finite and none "
                "negative."
            )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an audit is given.

    Attributes:
        task: the trained model and its losses; None for data without a model, which few audits
            take.
        train: the train pool: what the model was trained on, and what may be blamed.
        queries: what is explained, or a trusted set; what it means is the audit's to say.
        checkpoints: earlier or sibling weights of the model: state dicts, or paths of files that
            hold one (`.safetensors`, or what `torch.load(weights_only=True)` reads).
        recipe: how the model was trained.
        fresh: gives a newly initialized model; by default a copy with its parameters reset.
        pretrained: the state dict the training began from, if not from a fresh initialization.
        name: how reports call the subject.
        description: sentences on where the subject came from and what of it is used.
    """

    task: Task | None = None
    train: Pool
    queries: Pool | None = None
    checkpoints: Sequence[Mapping[str, Tensor] | Path | str] = ()
    recipe: Recipe = field(default_factory=Recipe)
    fresh: Callable[[], nn.Module] | None = None
    pretrained: Mapping[str, Tensor] | None = None
    name: str = "subject"
    description: Sequence[str] = ()

    def required_task(self) -> Task:
        """The task, where there is one.

        Raises:
            UsageError: the subject has no model.
        """
        if self.task is None:
            raise no_model(self.name)
        return self.task


def no_model(subject: str) -> UsageError:
    """What is raised where a subject of that name has no model and one is needed."""
    return UsageError(
        f"The subject {subject} has no model, and this needs one: give `Subject(task=...)`, or "
        "leave out --no-model."
    )


def _like(targets: Tensor, old: Batch) -> Tensor:
    import torch  # noqa: PLC0415 - this module is imported without torch

    if not isinstance(old, torch.Tensor):
        return targets
    cast = targets.to(old.dtype)
    return cast.reshape(old.shape) if cast.shape != old.shape else cast
