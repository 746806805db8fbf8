"""Behaviours of a classifier: what it predicts of some examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import Pool, labelled, lacks_labels
from auditkit.errors import PoolError, SettingError, UsageError, did_you_mean
from auditkit_tracing.behaviours import TOGETHER, Asked, Query, quoted
from auditkit_tracing.settings import Context

if TYPE_CHECKING:
    from auditkit.showing import PoolName

Positions = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DEFAULT = 5
"""How many of the worst mistakes are asked about where no query is named."""


@dataclass(frozen=True)
class Seen:
    """What the model says of the examples that may be asked about.

    Attributes:
        pool: the examples, with a label each.
        name: which of the subject's pools they are.
        probabilities: float64 [example, class].
        labels: int64 [example]; None where they have none.
    """

    pool: Pool
    name: PoolName
    probabilities: Floats
    labels: Positions | None

    @property
    def predicted(self) -> Positions:
        """The class that the model predicts of each, [example]."""
        best: Positions = self.probabilities.argmax(axis=1)
        return best


def asked(context: Context, seen: Seen) -> Asked:
    """The predictions that the settings name, or the worst mistakes.

    Args:
        context: of the audit.
        seen: what the model says of the examples that may be asked about.

    Raises:
        SettingError: an id that no example has, or labels that are asked about and are not there.
    """
    settings = context.settings
    if settings.about == "label" and seen.labels is None:
        raise SettingError(
            "--about label was given, and the evaluation examples have no labels: leave it out to "
            "trace what the model predicts."
        )
    chosen = _chosen(context, seen)
    targets = seen.labels if settings.about == "label" else seen.predicted
    assert targets is not None  # noqa: S101 - refused above
    pool = with_targets(context, seen, chosen, targets[chosen])
    names = class_names(context, seen.probabilities.shape[1])
    queries = [
        Query(
            group=TOGETHER if settings.together else seen.pool.ids[place],
            says=_says(seen, names, place, int(targets[place])),
            probability=float(seen.probabilities[place, targets[place]]),
            shown=(seen.name, seen.pool.ids[place]),
        )
        for place in chosen.tolist()
    ]
    return Asked(pool, queries)


def look(context: Context) -> Seen:
    """Ask the model about the evaluation examples, or without any the training examples.

    Raises:
        UsageError: a setting for language models, or a task without class scores.
    """
    for option in ("prompt", "completion", "queries"):
        if getattr(context.settings, option) is not None:
            raise UsageError(
                f"--{option} was given, and the subject is a classifier: name the examples whose "
                "predictions are to be traced with --query ID."
            )
    train, queries = context.subject.train, context.subject.queries
    pool = train if queries is None else queries
    bare = lacks_labels(train, pool)
    if bare:
        pool = labelled(pool, np.zeros(len(pool), dtype=np.int64), like=train[0])
    evaluated = context.engine.evaluate(pool)
    if evaluated.outputs is None or evaluated.targets is None:
        raise UsageError(
            "The task gives no class scores, so there is no prediction to trace: define `outputs`."
        )
    scores = evaluated.outputs.astype(np.float64)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    labels = None if bare else evaluated.targets.astype(np.int64)
    name: PoolName = "train" if pool is train else "queries"
    return Seen(pool, name, shares / shares.sum(axis=1, keepdims=True), labels)


def class_names(context: Context, classes: int) -> Sequence[str]:
    """A name per class."""
    known = context.task.class_names
    return known if known is not None else [str(number) for number in range(classes)]


def with_targets(context: Context, seen: Seen, chosen: Positions, targets: Positions) -> Pool:
    """Some of the examples, with these classes in their labels' place, int64 [chosen].

    Raises:
        UsageError: examples in which a class has no place, or labels that are no classes.
    """
    pool = seen.pool.subset(chosen)
    if seen.labels is not None and np.array_equal(seen.labels[chosen], targets):
        return pool
    try:
        return labelled(pool, targets, like=context.subject.train[0])
    except PoolError as error:
        raise UsageError(
            f"The predicted class, or a decoy's, cannot be put in the label's place: {error} Or "
            "take --about label with --decoys 0, and give queries labels that are to be traced."
        ) from error


def _chosen(context: Context, seen: Seen) -> Positions:
    """Positions of the examples that are asked about."""
    wanted = context.settings.query
    if wanted:
        unknown = [name for name in wanted if name not in seen.pool.ids]
        if unknown:
            known = "evaluation" if seen.name == "queries" else "training"
            raise SettingError(
                f"--query names {unknown[0]!r}, which is the id of none of the {len(seen.pool):,} "
                f"{known} examples: {_hint(unknown[0], seen.pool.ids)}"
            )
        return seen.pool.positions(list(dict.fromkeys(wanted)))
    targets = seen.predicted if seen.labels is None else seen.labels
    given = seen.probabilities[np.arange(len(targets)), targets]
    worst = np.argsort(given, kind="stable")[:DEFAULT]
    wrong = seen.labels is not None and bool((seen.predicted != targets)[worst].any())
    context.note(
        f"No query was named (--query), so the {len(worst)} examples were taken that the model "
        + ("gives its label the least probability." if wrong else "is least sure of.")
    )
    return worst


def _hint(name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known)
    return hint if hint.startswith("did") else f"they are called {', '.join(known[:5])} and so on."


def _says(seen: Seen, names: Sequence[str], place: int, target: int) -> str:
    """A query in words."""
    id_, predicted = seen.pool.ids[place], names[int(seen.predicted[place])]
    if seen.labels is None:
        return f"{id_} is predicted {quoted(predicted)}"
    own = names[int(seen.labels[place])]
    if names[target] != predicted:
        return f"{id_} has the label {quoted(own)}, and is predicted {quoted(predicted)}"
    return f"{id_} is predicted {quoted(predicted)}" + (
        ", as it is labelled" if own == predicted else f", and its label is {quoted(own)}"
    )
