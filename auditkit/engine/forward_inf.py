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

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auditkit.choices import check_choice, check_count
from auditkit.devices import check_device
from auditkit.engine.asking import Asking
from auditkit.engine.calibration import check_sign, failure, self_check
from auditkit.engine.collecting import Strongest, Whole
from auditkit.engine.cost import Cost
from auditkit.engine.factors import FactorStore
from auditkit.engine.holdout import hold_out
from auditkit.engine.models import Models
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.preconditioner import Choice, check_damping
from auditkit.engine.prepared import Prepared
from auditkit.engine.readings import evaluate, features
from auditkit.engine.replay import Origin, ReplaySettings
from auditkit.engine.replayed import ReplayedModels, Replays, how_many
from auditkit.engine.response import Response
from auditkit.engine.scoring import Scoring
from auditkit.engine.sides import (
    Measure,
    Pull,
    Sides,
    TrainMeasure,
    held_out_pull,
    make_sides,
)
from auditkit.engine.trials import Trials
from auditkit.engine.update import UpdateSettings
from auditkit.engine.updates import grouped
from auditkit.errors import SettingError
from auditkit.gradients import differentiable
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.results import SelfCheck
from auditkit.scores import DocumentScores, Evaluation, Floats, Holdout, Planter, Ranking, Scores
from auditkit.seeds import seeded
from auditkit.subject import Recipe, Task


class ForwardINF:
    """The scoring engine on one task and its train pool.

    The caller's model is copied once and never touched; random states are as before after every
    call.

    Args:
        task: the trained model and its losses.
        train: the train pool; curvature and units come from it, whatever pool is scored.
        checkpoints: further weights of the same model, as state dicts or paths; scores are
            averaged over the model and all of them.
        checkpoint_weights: the weight of the model and of each checkpoint in that average; equal
            by default.
        recipe: how the model was trained; for `holdout`, and its weight decay for the curvature.
        fresh: gives a newly initialized model; by default every layer's `reset_parameters`.
        pretrained: the weights training began from; what replays shrink toward if given.
        replays: how many replays of the model, and of each checkpoint, scores are averaged over as
            well: copies shrunk toward fresh weights and trained again for a few epochs, on all
            examples (`replayed.py`). `auto` is about 4 in all, at least one of each, for a
            classifier of several layers that is small enough and whose `recipe` is given and not
            the default one, and none for all else.
        preconditioner: `auto` is `ggn` where the model is small enough; elsewhere it is `kfac` for
            losses that are means over draws of noise, as of diffusion models, and `ekfac` for all
            others.
        measure: what the query asks about; `auto` is the task's own measure.
        train_measure: what is read off the training examples; `auto` is the loss, since the loss is
            what they pulled the weights by. `tokens`: the largest change of the margin of a
            document's tokens, for language models. `outputs`: the mean square of how far the
            example's outputs move, which has no sign.
        pull: how hard a training example is taken to pull. `trained`: by the slope of its loss
            under the trained model, as an influence function has it. `held-out`: by the geometric
            mean of that and of its slope under models that did not train on it, which takes one
            `holdout` and is better where much has been memorized (docs/explanation/method.md);
            for classification, and on the train pool only.
        response: `finite` differences, or `first-order` by the cheaper of two ways.
        parameters: patterns of the names of the parameters that move, as in
            `"layer4.*|fc.*"`; by default all trainable ones.
        rise: how far the query's measure is to rise: in nats for classes and tokens, elsewhere in
            units of the mean loss of the training examples.
        update: how else the weights are to move.
        damping: of the curvature; 1 is what suited each preconditioner where it was tried (see
            `preconditioner.py`), 0 none beside the weight decay.
        relative: divide each score by the root of the example's influence on itself: unusual
            examples no longer score high for every query, and with one measure on both sides a copy
            of the query always comes first (RelatIF, Barshan et al. 2020). Takes a gradient per
            training example, once.
        seed: for curvature samples, folds and replays.
        device: torch's name of the device to work on.
        batch_size: examples per forward pass; halved where memory runs out.
        factors: where estimated curvature is kept, so that the next engine on the same model and
            data does not estimate it again: `auditkit.FactorFolder`. None for nowhere.
        progress: where passes say how far they are.
        warn: is told, in a sentence, what the user should know about the scores.

    Raises:
        SettingError: a measure the task does not have, or a number out of its range.
        TaskError: the model cannot be copied, or its measure ignores the model it is given.
    """

    def __init__(
        self,
        task: Task,
        *,
        train: Pool,
        checkpoints: Sequence[Mapping[str, Tensor] | Path | str] = (),
        checkpoint_weights: Sequence[float] | None = None,
        recipe: Recipe | None = None,
        fresh: Callable[[], nn.Module] | None = None,
        pretrained: Mapping[str, Tensor] | None = None,
        replays: Replays = "auto",
        preconditioner: Choice = "auto",
        measure: Measure = "auto",
        train_measure: TrainMeasure = "auto",
        pull: Pull = "trained",
        response: Response = "finite",
        parameters: str | None = None,
        rise: float = 0.1,
        update: UpdateSettings | None = None,
        damping: float = 1.0,
        relative: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        batch_size: int | None = None,
        factors: FactorStore | None = None,
        progress: Progress = SILENT,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        check_damping(damping)
        check_choice("preconditioner", preconditioner, Choice)
        check_device(device)
        self.task, self.device = task, torch.device(device)
        self._pools = Prepared(task, train, device=self.device)
        self.recipe = recipe or Recipe()
        self.seed = seed
        self._origin = Origin(fresh, pretrained, self.device)
        self._progress, self._warn = progress, warn
        self._executor = LocalExecutor(device=self.device, batch_size=batch_size, progress=progress)
        self._models = Models(
            task,
            self.train,
            checkpoints=checkpoints,
            shares=checkpoint_weights,
            moving=parameters,
            preconditioner=preconditioner,
            damping=damping,
            recipe=self.recipe,
            seed=seed,
            device=self.device,
            progress=progress,
            batch_size=batch_size,
            factors=factors,
            warn=warn,
        )
        self._replayed = ReplayedModels(
            task,
            self.train,
            recipe=self.recipe,
            origin=self._origin,
            executor=self._executor,
            seed=seed,
            progress=progress,
        )
        self._models = self._models.with_replays(self._replayed, self._how_many(replays))
        self._pulls: list[Tensor] = []  # shared with engines configured from this one
        self._asking = self._asks(task)
        self._sides = make_sides(
            task,
            measure=measure,
            train_measure=train_measure,
            pull=pull,
            pulls=self._pull,
            response=response,
            rise=rise,
            update=update,
            relative=relative,
        )
        self._scoring = self._scoring_of(self._sides)

    @property
    def train(self) -> Pool:
        """The train pool as the task has it measured."""
        return self._pools.train

    @classmethod
    def published(
        cls,
        task: Task,
        *,
        train: Pool,
        seed: int = 0,
        device: str | torch.device = "cpu",
        batch_size: int | None = None,
        progress: Progress = SILENT,
        warn: Callable[[str], None] | None = None,
    ) -> ForwardINF:
        """The authors' own setting, to compare with: it is weak (docs/explanation/method.md).

        One step of Adam at rate .005 on the query's loss, and random points near queries whose
        loss has saturated (reds-lab/Forward-INF, the leakage notebook). The authors rank by the
        absolute change: take `abs(scores.values)`. Their BatchNorm in training mode is left out.
        """
        return cls(
            task,
            train=train,
            preconditioner="adam",
            measure="loss",
            train_measure="loss",
            update=UpdateSettings(step=5e-3, sphere=3.0),
            seed=seed,
            device=device,
            batch_size=batch_size,
            progress=progress,
            warn=warn,
        )

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
            SettingError: so many scores that they do not fit into memory; use `ranking`.
            StepError: a query's measure has no gradient or cannot be raised at all, so that there
                is no update whose responses could be read. First-order scores of such a query are
                zero, as its gradient is.
            TaskError: the model cannot be run on the first query or example.
            NonFiniteScoreError: an update went so far that a score is no number.
        """
        queries, pool = self._pools.pair(queries, pool)
        rows = grouped(queries, groups)
        whole = Whole(tuple(rows), pool.ids, measure=self._sides.train_name)
        for tile in self._asking.tiles(self._scoring, queries, rows, pool):
            whole.add(tile.rows, tile.values, tile.steps)
        return whole.scores()

    def ranking(
        self,
        queries: Pool,
        pool: Pool | None = None,
        *,
        k: int = 100,
        groups: Sequence[str] | None = None,
    ) -> Ranking:
        """The same, of which only each query's k strongest on both sides are kept.

        Scores come in tiles and are never held whole, so queries and pool may be as large as they
        are; what is said of each training example (`Ranking.mean` and so on) counts all of them.
        """
        queries, pool = self._pools.pair(queries, pool)
        rows = grouped(queries, groups)
        strongest = Strongest(tuple(rows), pool.ids, k=k, measure=self._sides.train_name)
        for tile in self._asking.tiles(self._scoring, queries, rows, pool):
            strongest.add(tile.rows, tile.values, tile.steps)
        return strongest.ranking()

    def configured(
        self,
        *,
        measure: Measure = "auto",
        train_measure: TrainMeasure = "auto",
        pull: Pull = "trained",
        response: Response = "finite",
        rise: float | None = None,
        damping: float | None = None,
        relative: bool = False,
        update: UpdateSettings | None = None,
        task: Task | None = None,
    ) -> ForwardINF:
        """An engine on the same models and curvature, with other settings of what is measured.

        Rise and damping are this engine's own where they are left out, so that what was calibrated
        stays; anything else that is left out has its default. The task stays, if no other one on
        the same model is given (one with other noises, perhaps). Curvature that either of them
        estimates serves both.

        Raises:
            SettingError: a measure the task does not have, a number out of its range, or a task on
                another model.
        """
        other = copy.copy(self)
        if damping is not None:
            check_damping(damping)
            other._models = self._models.damped(damping)
        if task is not None and task is not self.task:
            other._take(task)
        other._sides = make_sides(
            other.task,
            measure=measure,
            train_measure=train_measure,
            pull=pull,
            pulls=other._pull,
            response=response,
            rise=self._sides.rise if rise is None else rise,
            update=update,
            relative=relative,
        )
        other._scoring = other._scoring_of(other._sides)
        return other

    def with_curvature(
        self,
        preconditioner: Choice = "auto",
        *,
        parameters: str | None = None,
        damping: float | None = None,
    ) -> ForwardINF:
        """An engine on the same models, with another preconditioner or other parameters that move.

        The rise stays, and so does the damping where it is left out; anything else of what is
        measured has its default, and `configured` changes that in turn. The models themselves are
        shared; the curvature is estimated anew when scores are first asked for.

        Raises:
            SettingError: an unknown preconditioner, or a number out of its range.
        """
        if damping is not None:
            check_damping(damping)
        check_choice("preconditioner", preconditioner, Choice)
        other = copy.copy(self)
        other._models = self._models.moving_others(parameters, preconditioner, damping=damping)
        return other.configured()

    def averaged(self, replays: Replays = "auto") -> ForwardINF:
        """The same engine, whose scores are averaged over so many replays of the model as well.

        What is measured stays, and curvature that has been estimated; 0 takes replays away again.

        Raises:
            SettingError: a number of replays below zero.
        """
        other = copy.copy(self)
        other._models = self._models.with_replays(self._replayed, self._how_many(replays))
        other._asking, other._scoring = other._asks(self.task), other._scoring_of(self._sides)
        return other

    def alone(self) -> ForwardINF:
        """The same engine on the trained model alone, without checkpoints and replays."""
        other = copy.copy(self)
        other._models = self._models.alone()
        other._asking, other._scoring = other._asks(self.task), other._scoring_of(self._sides)
        return other

    @property
    def replays(self) -> int:
        """How many replays of each network scores are averaged over beside it."""
        return self._models.replays

    def quiet(self) -> ForwardINF:
        """The same engine, which tells nobody anything: for what no user asked about."""
        other = copy.copy(self)
        other._warn = None
        other._asking = other._asks(self.task)
        return other

    def evaluate(self, pool: Pool | None = None) -> Evaluation:
        """Loss, outputs and targets of each example (default: the train pool), as trained.

        Of documents, the loss alone: their outputs are no table.

        Raises:
            NonFiniteLossError: a loss is NaN or infinite.
        """
        pool = self._pools.scored(pool)
        with seeded(self.seed):
            return evaluate(self.task, self._models.trained, pool, self._executor)

    def features(self, pool: Pool | None = None) -> Floats:
        """What goes into the model's last linear layer, float32 [example, feature].

        Raises:
            TaskError: the model runs no linear layer.
        """
        pool = self._pools.scored(pool)
        with seeded(self.seed):
            return features(self.task, self._models.trained, pool, self._executor)

    def documents(
        self,
        queries: Pool,
        pool: Pool | None = None,
        *,
        groups: Sequence[str] | None = None,
        candidates: int | None = None,
    ) -> DocumentScores:
        """Influence of each document on each query, by its tokens and by its loss, in one pass.

        With checkpoints, what each says of the pool is brought to the root mean square of what the
        trained model says, and averaged: a ranking, in which each has one voice, and in which
        scores of a subset need not equal the same columns of the whole.

        Args:
            queries: what is explained.
            pool: the documents that may be blamed; by default the train pool.
            groups: a name per query, as for `influence`.
            candidates: checkpoints are asked only about so many documents at either end of what
                the trained model says, which leaves them a small part of their pass; the other
                documents keep what it says. None for all.

        Raises:
            SettingError: the engine is not one of `train_measure="tokens"`, there are fewer
                candidates than one, or so many scores that they do not fit into memory.
            StepError: a query's measure has no gradient or cannot be raised at all.
            NonFiniteScoreError: an update went so far that a score is no number.
        """
        if not self._sides.by_token:
            raise SettingError('Scores of documents need an engine with train_measure="tokens".')
        if candidates is not None:
            check_count("candidates", candidates)
        queries, pool = self._pools.pair(queries, pool)
        rows = grouped(queries, groups)
        wholes = [Whole(tuple(rows), pool.ids, measure=name) for name in ("tokens", "loss")]
        with self._asking.about(self._scoring, queries, pool, rows=len(rows)):
            values, steps = self._scoring.documents(
                queries, list(rows.values()), pool, candidates=candidates
            )
        for place, whole in enumerate(wholes):
            whole.add(slice(0, len(rows)), values[:, :, place], steps)
        return DocumentScores(*(whole.scores() for whole in wholes))

    def token_changes(
        self, queries: Pool, pool: Pool | None = None
    ) -> list[npt.NDArray[np.float64]]:
        """How much each token of each document changes when all of `queries` are unlearned at once.

        In the order of the document's counted tokens, in the units of scores: without checkpoints
        the largest of a document's is its score with `train_measure="tokens"`. Kept whole: ask
        about few documents.

        Raises:
            SettingError: the engine is not one of `train_measure="tokens"`.
        """
        if not self._sides.by_token:
            raise SettingError('Changes of tokens need an engine with train_measure="tokens".')
        queries, pool = self._pools.pair(queries, pool)
        with self._asking.about(self._scoring, queries, pool, rows=1):
            return self._scoring.token_changes(queries, np.arange(len(queries)), pool)

    def cost(self, queries: int, pool: Pool | None = None) -> Cost:
        """What scores of so many queries will cost, in plain inference passes over the pool."""
        with differentiable():
            return self._scoring.cost(self._pools.scored(pool), rows=queries)

    @property
    def preconditioner(self) -> str | None:
        """Which preconditioner was used and why, in a sentence; None before any scores."""
        return self._models.preconditioner

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
        neighbours: int = 0,
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
            unlearn: how far each fold's mean loss is raised by one update before its replay, in
                the units of `rise`.
            plant: chooses labels to exchange while replaying, to calibrate an audit on.
            untrained: bool [example]; examples that no replay trains on, because their labels are
                in doubt; they are measured in their folds like the others.
            neighbours: so many of the others that are most alike are looked for, by the features
                of the replayed model that did not train on the example.
            seed: for folds, fresh weights and orders; by default the engine's.

        Raises:
            SettingError: fewer than two folds, more folds than examples, no epochs or repeats, or
                a negative number of neighbours.
            TaskError: the model cannot be initialized anew, labels cannot be exchanged, or there
                are neighbours to look for and no `features`.
        """
        seed = self.seed if seed is None else seed
        with seeded(seed, "replays"), differentiable():
            return hold_out(
                self.task,
                self._models.networks(),
                self._pools.scored(pool),
                folds=folds,
                epochs=epochs,
                repeats=repeats,
                plant=plant,
                untrained=untrained,
                neighbours=neighbours,
                replay=ReplaySettings(keep=keep, unlearn=unlearn),
                recipe=self.recipe,
                origin=self._origin,
                seed=seed,
                executor=self._executor,
                progress=self._progress,
            )

    def self_check(
        self, *, queries: int = 16, candidates: int = 512, together: bool = False
    ) -> SelfCheck:
        """Training examples as queries: how often their own score is highest among candidates.

        Both sides are measured by what the query side asks about, so that a training example that
        the model knows by heart still answers to its own query. A gate, not an objective: scores
        that fail it are not worth reading, scores that pass may still be poor. A failure is told
        to `warn`.

        Args:
            queries: how many training examples are asked about.
            candidates: among how many.
            together: whether they come by `DocumentScores.together`, of an engine that reads
                tokens, in place of what `influence` gives.

        Raises:
            SettingError: `together` with an engine that is not one of `train_measure="tokens"`.
            SignError: unlearning a class helps that class, so the signs cannot be right.
        """
        sides = replace(self._sides, train=self._sides.query, pull=None)
        scoring = self._scoring_of(sides)

        def values(asked: Pool, pool: Pool, groups: Sequence[str] | None = None) -> Floats:
            asked, pool = self._pools.pair(asked, pool)
            tiles = self._asking.tiles(scoring, asked, grouped(asked, groups), pool, advise=False)
            return np.concatenate([tile.values for tile in tiles]).astype(np.float32)

        def joined(asked: Pool, pool: Pool, groups: Sequence[str] | None = None) -> Floats:
            return self.documents(asked, pool, groups=groups).together.values

        found_by = joined if together else values
        result = self_check(found_by, self._pools.given, queries, candidates, seed=self.seed)
        check_sign(values, self.task, self._models.trained, self.train, candidates, seed=self.seed)
        self._asking.tell(failure(result))
        return result

    def _how_many(self, replays: Replays) -> int:
        """How many replays of each network."""
        return how_many(
            replays,
            networks=self._models.networks_count,
            model=self._models.trained,
            task=self.task,
            recipe=self.recipe,
            replayed=self._replayed,
        )

    def _asks(self, task: Task) -> Asking:
        """What is tried before scores of the task's measures, and said of them."""
        trials = Trials(task, self._models.trained, self.train, self._executor)
        return Asking(trials, models=self._models.count, seed=self.seed, warn=self._warn)

    def _take(self, task: Task) -> None:
        """Measure by another task on the same model.

        Raises:
            SettingError: it has another model.
        """
        if task.model is not self.task.model:
            raise SettingError(
                f"The task given ({type(task).__name__}) has another model than the engine's: "
                "curvature and weights cannot be shared, so make an engine of its own for it."
            )
        self.task, self._pulls = task, []
        self._pools = Prepared(task, self._pools.given, device=self.device)
        self._asking = self._asks(task)

    def _pull(self, pool: Pool) -> Tensor:
        """What each training example weighs, out of one holdout that is kept."""
        if pool is not self.train:
            raise SettingError(
                'pull="held-out" is known of the train pool alone: leave `pool` out, and take the '
                "columns you want."
            )
        if not self._pulls:
            self._pulls.append(held_out_pull(self.holdout()))
        return self._pulls[0]

    def _scoring_of(self, sides: Sides) -> Scoring:
        return Scoring(
            self.task,
            self.train,
            self._models,
            sides,
            executor=self._executor,
            progress=self._progress,
            seed=self.seed,
        )
