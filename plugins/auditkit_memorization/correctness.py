"""Trainings from scratch, and whether their predictions are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import Pool, Task
from auditkit_memorization.estimate import Halves
from auditkit_memorization.settings import Context

if TYPE_CHECKING:
    from torch import Tensor, nn

    from auditkit import truth
    from auditkit.subject import Batch

Positions = npt.NDArray[np.int64]


class Correctness(Task):
    """A task whose measure is below zero where the prediction is the label.

    The measure is the best other class score minus the label's, [batch]. All else is the task's.
    """

    measure_name = "best other score above the label's"
    likelihood = "categorical"

    def __init__(self, task: Task) -> None:
        super().__init__(task.model, class_names=task.class_names)
        self._task = task

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The task's own loss, [batch]."""
        return self._task.loss(model, batch)

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The task's own outputs: class scores [batch, class] and labels [batch]."""
        return self._task.outputs(model, batch)

    def loss_and_outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The task's own, of one pass where it can."""
        return self._task.loss_and_outputs(model, batch)

    def with_targets(self, batch: Batch, targets: Tensor) -> Batch:
        """The batch with other labels, as the task exchanges them."""
        return self._task.with_targets(batch, targets)

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        """The best other class score minus the label's, [batch]."""
        scores, labels = self._task.outputs(model, batch)
        own = scores.gather(1, labels[:, None])[:, 0]
        return scores.scatter(1, labels[:, None], float("-inf")).amax(dim=1) - own


def retrained_halves(context: Context, *, count: int) -> Halves:
    """Trainings of the subject's model on random halves, and what they predict of all examples.

    Finished ones are kept in the run's folder for unfinished work.

    Raises:
        TaskError: the model cannot be initialized anew.
        StoreError: the folder cannot be written or read.
    """
    from auditkit import truth  # noqa: PLC0415 - brings torch

    train = context.subject.train
    done = truth.half_subsets(
        _retraining(context, train, train),
        count=count,
        seeds=1,
        folder=context.work() / "halves",
        progress=context.progress,
    )
    return Halves(members=done.members, right=done.measures < 0)


Measured = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Without:
    """What was measured after trainings without some groups of examples.

    Attributes:
        everything: float64 [seed, query]; after training on all examples.
        left_out: by the group's name, float64 [seed, query]; the same without it.
    """

    everything: Measured
    left_out: Mapping[str, Measured]

    def below_zero(self) -> Without:
        """Ones where the measure is below zero, and zeros."""
        return Without(
            (self.everything < 0).astype(np.float64),
            {name: (own < 0).astype(np.float64) for name, own in self.left_out.items()},
        )


def retrained_without(
    context: Context,
    train: Pool,
    queries: Pool,
    groups: Sequence[Mapping[str, Positions]],
    folder: Path,
) -> Without:
    """Trainings with everything and without each group, one of each per seed: what is right.

    Args:
        context: of the audit.
        train: what is trained on.
        queries: what is predicted.
        groups: for each seed, positions in the train pool by the group's name.
        folder: where finished trainings are kept.
    """
    retraining = _retraining(context, train, queries)
    return measured_without(context, retraining, groups, folder).below_zero()


def measured_without(
    context: Context,
    retraining: truth.Retraining,
    groups: Sequence[Mapping[str, Positions]],
    folder: Path,
) -> Without:
    """The measure of each query after trainings with everything and without each group.

    Args:
        context: of the audit.
        retraining: what is trained and measured.
        groups: for each seed, positions in the train pool by the group's name.
        folder: where finished trainings are kept.
    """
    from auditkit import truth  # noqa: PLC0415 - brings torch

    everything, left_out = [], []
    with context.progress.step("training without examples", len(groups)) as step:
        for place, chosen in enumerate(groups):
            done = truth.group_influence(
                replace(retraining, seed=retraining.seed + place),
                groups=chosen,
                seeds=1,
                folder=folder,
            )
            base = done.base[0].astype(np.float64)
            everything.append(base)
            left_out.append(base[:, None] + done.by_seed[0])
            step.advance()
    stacked = np.stack(left_out)
    return Without(
        everything=np.stack(everything),
        left_out={name: stacked[:, :, place] for place, name in enumerate(groups[0])},
    )


def _retraining(context: Context, train: Pool, queries: Pool) -> truth.Retraining:
    from auditkit import truth  # noqa: PLC0415 - brings torch

    return replace(
        truth.Retraining.of(context.subject),
        task=Correctness(context.task),
        train=train,
        queries=queries,
        seed=context.seed,
        device=context.device,
    )
