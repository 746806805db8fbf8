"""Forward-INF: which training examples made the model do this?

The method of *The Mirrored Influence Hypothesis* (Ko et al., CVPR 2024, arXiv 2402.08922), in three
steps:

1. **Update.** Take the trained weights and move them against the query, by gradient ascent on its
   measure, until that has risen by a stated amount: the query is unlearned. A preconditioner makes
   the move the one that leaving out, or putting in, training data would make.
2. **Response.** Run the training examples forward through the moved model. Those whose own measure
   rises as well were pulling the same way as the query.
3. **Scores.** The rise, in units of influence: above zero a proponent, below zero an opponent.

One gradient per query and one forward pass per training example; no gradient at any training
example. The second primitive, `holdout`, answers for a whole pool at once what each example's
loss would have been, had the model not trained on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auditkit.audit import SelfCheck
from auditkit.engine.calibration import self_check
from auditkit.engine.checkpoints import load_weights
from auditkit.engine.curvature import Kind, Preconditioner, make_preconditioner
from auditkit.engine.holdout import hold_out
from auditkit.engine.passes import Function, LocalExecutor
from auditkit.engine.replay import ReplaySettings
from auditkit.engine.response import FiniteResponse
from auditkit.engine.restore import private_copy
from auditkit.engine.update import make_update
from auditkit.errors import SettingError
from auditkit.gradients import differentiable
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.scores import Holdout, Planter, Scores
from auditkit.seeds import seeded
from auditkit.subject import Recipe, Task

Measure: TypeAlias = Literal["auto", "loss", "margin"]
"""What is measured: the loss, or the task's own measure (margin) where it has one (`auto`)."""


class ForwardINF:
    """The scoring engine on one task and its train pool.

    The caller's model is copied once and never touched; random states are as before after every
    call.

    Args:
        task: the trained model and its losses.
        train: the train pool; curvature and units come from it, whatever pool is scored.
        checkpoints: further weights of the same model, as state dicts or paths; scores are
            averaged over the model and all of them.
        recipe: how the model was trained; for `holdout`, and its weight decay for the curvature.
        fresh: gives a newly initialized model; by default every layer's `reset_parameters`.
        pretrained: the weights training began from; what `holdout` shrinks toward if given.
        preconditioner: `auto` is `kfac`.
        measure: what the query asks about; `auto` is the task's own measure.
        train_measure: what is read off the training examples.
        rise: how far the query's measure is to rise, in nats for classification.
        damping: of the curvature, in units of its mean diagonal entry.
        seed: for curvature samples, folds and replays.
        device: torch's name of the device to work on.
        batch_size: examples per forward pass; halved where memory runs out.
        progress: where passes say how far they are.
        warn: is told, in a sentence, what the user should know about the scores.

    Raises:
        SettingError: a measure the task does not have, or a rise or damping out of range.
        TaskError: the model cannot be copied, or its measure ignores the model it is given.
    """

    def __init__(
        self,
        task: Task,
        *,
        train: Pool,
        checkpoints: Sequence[Mapping[str, Tensor] | Path | str] = (),
        recipe: Recipe | None = None,
        fresh: Callable[[], nn.Module] | None = None,
        pretrained: Mapping[str, Tensor] | None = None,
        preconditioner: Kind | Literal["auto"] = "auto",
        measure: Measure = "auto",
        train_measure: Measure = "auto",
        rise: float = 1.0,
        damping: float = 1e-2,
        seed: int = 0,
        device: str | torch.device = "cpu",
        batch_size: int | None = None,
        progress: Progress = SILENT,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        if not (0 < rise < math.inf and 0 <= damping < math.inf):
            raise SettingError(
                f"rise is {rise} and damping is {damping}: rise must be above and damping at least "
                "zero, both finite."
            )
        self.task, self.train = task, train
        self.recipe = recipe or Recipe()
        self.rise, self.damping, self.seed = rise, damping, seed
        self.kind: Kind = "kfac" if preconditioner == "auto" else preconditioner
        self.device = torch.device(device)
        self._query_side = self._function(measure)
        self._train_side, self._train_measure = self._function(train_measure), train_measure
        self._checkpoints = tuple(checkpoints)
        self._fresh, self._pretrained = fresh, pretrained
        self._progress, self._warn = progress, warn
        self._executor = LocalExecutor(device=self.device, batch_size=batch_size, progress=progress)
        self._model = private_copy(task.model, self.device)
        self._preconditioners: dict[int, Preconditioner] = {}

    def influence(
        self, queries: Pool, pool: Pool | None = None, *, groups: Sequence[str] | None = None
    ) -> Scores:
        """Influence of each example of a pool on each query.

        Args:
            queries: what is explained.
            pool: the examples that may be blamed; by default the train pool. Scores of a subset
                equal the same columns of the whole.
            groups: a name per query; queries of one name are unlearned by one update, on their
                mean measure, and are one row of the scores.

        Raises:
            StepError: a query's measure has no gradient or cannot be raised at all.
            NonFiniteScoreError: an update went so far that a score is no number.
        """
        pool = self.train if pool is None else pool
        rows = _grouped(queries, groups)
        values = np.zeros((len(rows), len(pool)), dtype=np.float64)
        steps = np.zeros(len(rows), dtype=np.float64)
        models = short = 0
        with seeded(self.seed), differentiable():
            for place, model in self._models():
                models += 1
                response = FiniteResponse(
                    self._train_side, model, pool, executor=self._executor, what="measure"
                )
                precondition = self._preconditioner(place, model)
                with self._progress.step("scoring queries", len(rows)) as step:
                    for row, positions in enumerate(rows.values()):
                        update = make_update(
                            self._query_side,
                            model,
                            queries,
                            positions,
                            precondition=precondition,
                            rise=self.rise,
                            executor=self._executor,
                            device=self.device,
                        )
                        values[row] += response.to(update, examples=len(self.train)).numpy()
                        steps[row] += update.step
                        short += update.rise < self.rise
                        step.advance()
        if short and self._warn is not None:
            self._warn(
                f"The measure of {short} of {len(rows) * models} queries cannot be raised by "
                f"{self.rise:g}; their updates go half as far as it rises."
            )
        return Scores(
            values=(values / models).astype(np.float32),
            query_ids=tuple(rows),
            train_ids=pool.ids,
            step=(steps / models).astype(np.float32),
            measure=self.task.measure_name if self._train_measure != "loss" else "loss",
        )

    def holdout(
        self,
        pool: Pool | None = None,
        *,
        folds: int = 5,
        epochs: int = 4,
        repeats: int = 1,
        keep: float = 0.25,
        unlearn: float = 0.0,
        plant: Planter | None = None,
        untrained: npt.NDArray[np.bool_] | None = None,
        seed: int | None = None,
    ) -> Holdout:
        """Every example measured by models that did not train on it, without retraining any.

        Args:
            pool: the examples; by default the train pool.
            folds: into how many parts the pool is cut; each is held out once.
            epochs: of replay on the other folds; the fold is measured after each of them.
            repeats: how many times, each with other folds, all averaged.
            keep: the share of the trained weights in the blend with fresh ones; 0 is short
                training from scratch.
            unlearn: how far each fold's mean loss is raised by one update before its replay.
            plant: chooses labels to exchange while replaying, to calibrate an audit on.
            untrained: bool [example]; examples that no replay trains on, because their labels are
                in doubt; they are measured in their folds like the others.
            seed: for folds, fresh weights and orders; by default the engine's.

        Raises:
            SettingError: fewer than two folds, more folds than examples, no epochs or repeats.
            TaskError: the model cannot be initialized anew, or labels cannot be exchanged.
        """
        seed = self.seed if seed is None else seed
        with seeded(seed, "replays"), differentiable():
            return hold_out(
                self.task,
                (model for _, model in self._models()),
                self.train if pool is None else pool,
                folds=folds,
                epochs=epochs,
                repeats=repeats,
                plant=plant,
                untrained=untrained,
                replay=ReplaySettings(keep=keep, unlearn=unlearn, damping=self.damping),
                recipe=self.recipe,
                fresh=self._fresh,
                pretrained=self._pretrained,
                seed=seed,
                executor=self._executor,
                progress=self._progress,
            )

    def self_check(self, *, queries: int = 16, candidates: int = 512) -> SelfCheck:
        """Training examples as queries: how often their own score is highest among candidates.

        A gate, not an objective: scores that fail it are not worth reading, scores that pass may
        still be poor. A failure is told to `warn`.
        """
        result = self_check(self.influence, self.train, queries, candidates, seed=self.seed)
        if not result.passed and self._warn is not None:
            self._warn(
                f"The self-check failed: {result.top1:.0%} of {result.queries} training examples "
                "find themselves first. Scores of single examples are not to be trusted here; try "
                "another measure, a smaller damping or a smaller rise."
            )
        return result

    def _function(self, measure: Measure) -> Function:
        if measure not in ("auto", "loss", self.task.measure_name):
            raise SettingError(
                f"measure is {measure!r}: {type(self.task).__name__} has 'loss'"
                + (f" and {self.task.measure_name!r}." if self.task.measure_name != "loss" else ".")
            )
        return self.task.loss if measure == "loss" else self.task.measure

    def _models(self) -> Iterator[tuple[int, nn.Module]]:
        """The trained model, then a copy holding each of the checkpoints in turn."""
        yield 0, self._model
        for place, checkpoint in enumerate(self._checkpoints, start=1):
            model = private_copy(self._model, self.device)
            load_weights(model, checkpoint)
            yield place, model

    def _preconditioner(self, place: int, model: nn.Module) -> Preconditioner:
        if place not in self._preconditioners:
            coupled = self.recipe.optimizer in ("sgd", "adam")
            self._preconditioners[place] = make_preconditioner(
                self.kind,
                self.task,
                model,
                self.train,
                damping=self.damping,
                weight_decay=self.recipe.weight_decay if coupled else 0.0,
                seed=self.seed,
                device=self.device,
            )
        return self._preconditioners[place]


def _grouped(queries: Pool, groups: Sequence[str] | None) -> dict[str, npt.NDArray[np.int64]]:
    """Positions of the queries by row: their own ids, or the groups' names."""
    names = queries.ids if groups is None else groups
    if len(names) != len(queries):
        raise SettingError(f"There are {len(names)} group names for {len(queries)} queries.")
    rows: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        rows.setdefault(name, []).append(position)
    return {name: np.array(places, dtype=np.int64) for name, places in rows.items()}
