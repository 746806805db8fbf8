"""What the model says of the evaluation set: its metric, its margins, and stage 3 on the pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import AuditContext, Evaluation, Pool, labelled, lacks_labels
from auditkit.errors import EngineError, TaskError
from auditkit_leakage import metric
from auditkit_leakage.influence import Treated, margins, treat

if TYPE_CHECKING:
    from auditkit_leakage.audit import LeakageSettings

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

_LIKELY = 0.05
"""Pairs that are less likely leaks than this are not asked about, unless all are."""

_MOST = 500
_AMONG = 250
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Opinion:
    """What the model says of the evaluation examples.

    Attributes:
        predicted: whether the labels are the model's own predictions, for want of given ones.
        labels: the name of each example's label, given or predicted; None for a regression.
        margin: float64 [example]; the log-odds of that label; None for a regression.
        metric: its name and its value per example; None where there are no labels to compare with.
        asked: int64 [pair]; the examples whose pairs stage 3 looked at.
        treated: what it said; None where it looked at none.
        nearness: int64 [pair]; the place of the training example among all by the cosine of what
            the model's last linear layer is given; None where it looked at none, or has none.
    """

    predicted: bool
    labels: tuple[str, ...] | None
    margin: Floats | None
    metric: tuple[str, Floats] | None
    asked: Positions
    treated: Treated | None
    nearness: Positions | None = None


def ask(
    context: AuditContext[LeakageSettings],
    queries: Pool,
    *,
    nearest: Positions,
    probability: Floats,
) -> Opinion:
    """Ask the model about the evaluation set.

    Args:
        context: has the model and the train pool.
        queries: the evaluation set.
        nearest: int64 [example]; the best training example of each, -1 for none.
        probability: float64 [example]; that it is a leak.
    """
    train, likelihood = context.subject.train, context.task.likelihood
    predicted = lacks_labels(train, queries)
    if predicted and likelihood != "categorical":
        context.note(
            "The evaluation set has no labels, and the model predicts numbers: there is no metric, "
            "and the model was not asked about the pairs.",
        )
        return Opinion(predicted, None, None, None, np.zeros(0, np.int64), None)
    if predicted:
        queries = _with_predictions(context, queries)
        context.note(
            "The evaluation set has no labels: identical and near-duplicate content is looked for "
            "as ever, margins are those of the class the model predicts, and there is no accuracy."
        )
    evaluated = context.engine.evaluate(queries)
    found = None if predicted else metric.values(evaluated, likelihood)
    chosen = _chosen(nearest, probability, everything=context.settings.whole)
    return Opinion(
        predicted=predicted,
        labels=_names(context, evaluated),
        margin=_margins(evaluated, likelihood),
        metric=found,
        asked=chosen,
        treated=_treated(context, queries, chosen, nearest) if len(chosen) else None,
        nearness=_nearness(context, queries, chosen, nearest) if len(chosen) else None,
    )


def label_names(context: AuditContext[LeakageSettings], pool: Pool) -> tuple[str, ...] | None:
    """The name of each example's label, as its metadata or else the model's task has it."""
    if pool.label is not None:
        return tuple("" if cell is None else str(cell) for cell in pool.metadata[pool.label])
    if not context.has_model or context.task.likelihood != "categorical":
        return None
    return _names(context, context.engine.evaluate(pool))


def _names(context: AuditContext[LeakageSettings], evaluated: Evaluation) -> tuple[str, ...] | None:
    if context.task.likelihood != "categorical" or evaluated.targets is None:
        return None
    names = context.task.class_names
    return tuple(
        names[label] if names is not None and 0 <= label < len(names) else str(label)
        for label in evaluated.targets.astype(np.int64).tolist()
    )


def _with_predictions(context: AuditContext[LeakageSettings], queries: Pool) -> Pool:
    """The evaluation set with the class that the model predicts in the label's place."""
    like = context.subject.train[0]
    blank = labelled(queries, np.zeros(len(queries), dtype=np.int64), like=like)
    outputs = context.engine.evaluate(blank).outputs
    if outputs is None:
        return blank
    return labelled(queries, outputs.argmax(axis=1).astype(np.int64), like=like)


def _margins(evaluated: Evaluation, likelihood: str | None) -> Floats | None:
    if likelihood != "categorical" or evaluated.outputs is None or evaluated.targets is None:
        return None
    return margins(evaluated.outputs, evaluated.targets.astype(np.int64))


def _chosen(nearest: Positions, probability: Floats, *, everything: bool) -> Positions:
    """The examples whose pairs stage 3 looks at: all, or the likeliest leaks."""
    there = np.flatnonzero(nearest >= 0)
    if everything:
        return there
    likely = there[probability[there] >= _LIKELY]
    return np.sort(likely[np.argsort(-probability[likely], kind="stable")[:_MOST]])


def _treated(
    context: AuditContext[LeakageSettings], queries: Pool, chosen: Positions, nearest: Positions
) -> Treated | None:
    train = context.subject.train
    random = np.random.default_rng([context.seed, 0x57A6E3])
    among = None if context.settings.whole else random.permutation(len(train))[:_AMONG]
    try:
        return treat(
            context.engine,
            queries,
            train,
            evaluation=chosen,
            candidates=nearest[chosen],
            among=among,
            measure="margin" if context.task.measure_name == "margin" else "auto",
            progress=context.progress,
        )
    except (EngineError, TaskError) as error:
        context.note(f"The model could not be asked about the pairs: {error}", level="warning")
        return None


def _nearness(
    context: AuditContext[LeakageSettings], queries: Pool, chosen: Positions, nearest: Positions
) -> Positions | None:
    """How many training examples are at least as near in the model's features, [pair]."""
    try:
        ours = _unit(context.engine.features())
        theirs = _unit(context.engine.features(queries.subset(chosen)))
    except TaskError as error:
        context.note(f"The model's features were not compared: {error}")
        return None
    ranks = np.zeros(len(chosen), dtype=np.int64)
    for place, (asked, other) in enumerate(zip(theirs, nearest[chosen], strict=True)):
        cosines = ours @ asked
        if queries is context.subject.train:  # an example is no copy of itself
            cosines[chosen[place]] = -np.inf
        ranks[place] = 1 + int((cosines > cosines[other] + _ROUNDING).sum())
    return ranks


def _unit(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = features / np.maximum(lengths, 1e-12)
    return unit
