"""How strongly each training example answers to each behaviour.

Long texts stand in the train pool as windows. Here their readings become one per text: the largest
of its windows' where that is what is read, the mean over all its tokens where it is a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit import Engine, Pool, in_units, together
from auditkit.errors import SettingError
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.moving import moving_patterns
from auditkit_tracing.settings import Context
from auditkit_tracing.texts import documents_of

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

Reading: TypeAlias = Literal["loss", "tokens", "both"]
"""The change of a training example's loss, the largest change of one of its tokens, or both."""

CANDIDATES = 100
"""Of how many texts at either end checkpoints are asked at least; of twice as many as findings
keep, or of a fiftieth of all, where that is more."""

TEXT_RISE = 3.0
ELSE_RISE = 0.1


@dataclass(frozen=True)
class Scorer:
    """What scores training examples.

    Attributes:
        engine: as set.
        reads: what it reads off a training example.
        candidates: of how many texts, or windows of them, at either end of the trained model's
            scores checkpoints are asked.
    """

    engine: Engine
    reads: Reading
    candidates: int

    @property
    def by_token(self) -> bool:
        """Whether it sees the change of each token."""
        return self.reads != "loss"

    def quiet(self) -> Scorer:
        """The same, for what nobody asked about: it adds no notes."""
        return replace(self, engine=self.engine.quiet())


@dataclass(frozen=True)
class Examples:
    """Whole training examples, each one window or several of the train pool.

    Attributes:
        ids: of the wholes.
        of: int64 [window]; which whole each example of the train pool is a part of.
        weights: float64 [window]; how many tokens of it count; 1 where there are no tokens.
    """

    ids: tuple[str, ...]
    of: Positions
    weights: Floats

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def in_windows(self) -> bool:
        """Whether some are in several windows."""
        return len(self.of) > len(self.ids)

    def windows(self, chosen: Sequence[int] | Positions) -> Positions:
        """Positions in the train pool of the windows of some wholes, in the pool's order."""
        found: Positions = np.flatnonzero(np.isin(self.of, chosen)).astype(np.int64)
        return found


@dataclass(frozen=True)
class Measured:
    """Readings of whole examples for each behaviour.

    Attributes:
        score: float64 [behaviour, example]; what proponents come by, in units of its spread.
        proponent: bool [behaviour, example]; whether the score is above its middle, and a reading
            of it above zero.
        influence: float64 [behaviour, example]; the largest change of a token, where tokens are
            read, as an influence; else the same as `change`.
        change: float64 [behaviour, example]; predicted change of the behaviour's measure if the
            example were left out, from the change of its mean loss; opponents come by it.
        fall: float64 [behaviour, example]; the same in units of its spread.
        window: int64 [behaviour, example]; the position in the train pool of the window that
            `influence` is of.
        against: int64 [behaviour, example]; that of the window whose mean loss falls most, which
            shows an opponent.
        itself: bool [behaviour, example]; whether an example is the query itself, which is no
            finding, and counts in no middle and no spread.
    """

    score: Floats
    proponent: Bools
    influence: Floats
    change: Floats
    fall: Floats
    window: Positions
    against: Positions
    itself: Bools


def scorer(context: Context) -> Scorer:
    """The engine for the subject's kind of model, as set; says what moves.

    Raises:
        SettingError: tokens are to be read where there are none.
    """
    settings, texts = context.settings, context.task.likelihood == "tokens"
    rise = settings.rise or (TEXT_RISE if texts else ELSE_RISE)
    usual: Reading = "both" if texts else "loss"
    reads = usual if settings.measure == "auto" else settings.measure
    if reads != "loss" and not texts:
        raise SettingError(
            f"--measure is {settings.measure}, which reads the tokens of texts, and the subject's "
            f"task is a {type(context.task).__name__}: leave it out, or take loss."
        )
    train_measure: Literal["tokens", "auto"] = "auto" if reads == "loss" else "tokens"
    own = context.engine
    patterns, said = settings.parameters, ""
    if texts and patterns is None:
        patterns, said = moving_patterns(context.task.model)
    if texts:
        own = own.with_curvature("ekfac", parameters=patterns)
    elif patterns is not None:
        own = own.with_curvature(parameters=patterns)
    if said:
        context.note(said)
    own = own.configured(rise=rise, train_measure=train_measure)
    candidates = max(CANDIDATES, 2 * settings.keep, len(context.subject.train) // 50)
    return Scorer(_averaged(context, own) if settings.replays else own, reads, candidates)


def _averaged(context: Context, engine: Engine) -> Engine:
    """The engine over replays of the model as well, where these are worth their time."""
    averaged = engine.averaged()
    if averaged.replays:
        with_checkpoints = ", each checkpoint" if context.subject.checkpoints else ""
        replays = "a replay" if averaged.replays == 1 else f"{averaged.replays} replays"
        context.note(
            f"Scores are averages over the trained model{with_checkpoints} and {replays} of it, "
            "copies shrunk toward fresh weights and trained again for a few epochs "
            "(--no-replays for what was given alone)."
        )
    return averaged


def examples(train: Pool) -> Examples:
    """The whole examples of the train pool."""
    documents = documents_of(train)
    wholes = getattr(documents, "wholes", None) or train.ids
    names = tuple(dict.fromkeys(wholes))
    place = {name: number for number, name in enumerate(names)}
    weights = np.ones(len(train))
    if documents is not None:
        weights = np.array([len(documents.counted(own)) for own in range(len(train))], dtype=float)
    return Examples(names, np.array([place[name] for name in wholes], dtype=np.int64), weights)


def queries_themselves(asked: Asked, train: Pool, whole: Examples) -> Bools:
    """Whether a whole example is, in a window, one of a behaviour's queries, [behaviour, example].

    Such an example answers to the behaviour because it is the behaviour: no finding, and no
    measure of what stands out.
    """
    found = np.zeros((len(asked.behaviours), len(whole)), dtype=bool)
    for row, group in enumerate(asked.behaviours):
        for id_ in asked.itself(group):
            found[row, whole.of[train.positions([id_])]] = True
    return found


def measured(
    scoring: Scorer,
    queries: Pool,
    whole: Examples,
    *,
    groups: Sequence[str] | None = None,
    pool: Pool | None = None,
    itself: Bools | None = None,
) -> Measured:
    """Readings of whole training examples for each behaviour.

    Args:
        scoring: reads them.
        queries: the behaviours' queries.
        whole: what the examples of the pool are windows of.
        groups: of each query, the name of its behaviour; by default each is one.
        pool: the training examples, windows of all that are wholes; by default the train pool.
        itself: bool [behaviour, example]; whether an example is the query itself; by default none.
    """
    if scoring.by_token:
        found = scoring.engine.documents(
            queries, pool, groups=groups, candidates=scoring.candidates
        )
        values, losses = (one.values.astype(np.float64) for one in (found.tokens, found.loss))
    else:
        scores = scoring.engine.influence(queries, pool, groups=groups)
        values = losses = scores.values.astype(np.float64)
    window, change = strongest_window(values, whole), mean_over_windows(losses, whole)
    influence = np.take_along_axis(values, window, axis=1) if scoring.by_token else change
    itself = np.zeros(change.shape, dtype=bool) if itself is None else itself
    others = ~itself
    if scoring.reads == "both":
        score = together(influence, change, others)
        proponent = score > 0
    else:
        score = in_units(influence, others)
        proponent = (score > 0) & (influence > 0)
    return Measured(
        score=score,
        proponent=proponent & others,
        influence=influence,
        change=change,
        fall=in_units(change, others),
        window=window,
        against=strongest_window(-losses, whole),
        itself=itself,
    )


def strongest_window(values: Floats, whole: Examples) -> Positions:
    """The window of each whole with the highest value, int64 [row, example]."""
    found = np.zeros((len(values), len(whole)), dtype=np.int64)
    for row, own in enumerate(values):
        order = np.lexsort((-np.arange(len(own)), own))  # the highest last, of ties the first
        found[row, whole.of[order]] = order
    return found


def mean_over_windows(values: Floats, whole: Examples) -> Floats:
    """The mean of each whole's windows by their numbers of tokens, float64 [row, example]."""
    size = np.bincount(whole.of, weights=whole.weights, minlength=len(whole))
    rows = [
        np.bincount(whole.of, weights=own * whole.weights, minlength=len(whole)) for own in values
    ]
    found: Floats = np.stack(rows) / size
    return found
