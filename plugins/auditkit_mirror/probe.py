"""A linear probe: the user's model as far as its features, and a convex model on top of them.

What the model's last linear layer sees is standardized, rotated onto its leading principal
components where it has too many features for a Hessian to be written down, and given to a
regularized linear model. Leave-one-out retraining of that is exact and costs milliseconds, which
no retraining of the whole model could be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import Evaluation, Pool
from auditkit.errors import DataError, FeatureError, LabelError, MissingOutputsError, PoolError
from auditkit_mirror.convex import Problem, with_bias
from auditkit_mirror.draws import stream
from auditkit_mirror.families import Kind
from auditkit_mirror.study import Asked

if TYPE_CHECKING:
    from auditkit import Engine

Table = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

LEAST_ROWS = 40
"""Training examples below which correlations over them say nothing."""

MOST_WEIGHTS = 4_000
"""Weights of the linear model above which features are left out: its Hessian is 128 MB then."""

MOST_CLASSES = 50
MOST_FEATURES = 200
HELD_OUT = 0.15
"""The share of the train pool that asks where the subject has no queries, at most `CANDIDATES`."""

CANDIDATES = 400


@dataclass(frozen=True)
class Probe:
    """The data of the linear model, and where its rows stand in the train pool.

    Attributes:
        problem: training inputs and targets.
        candidates: examples that queries are chosen from.
        rows: int64 [row]; positions in the train pool.
        notes: what was left out, in sentences.
    """

    problem: Problem
    candidates: Asked
    rows: Positions
    notes: Sequence[str]


@dataclass(frozen=True)
class Material:
    """Features and targets of the subject, checked.

    Attributes:
        kind: the loss of the linear model.
        features: float64 [train, feature].
        targets: int64 [train] labels or float64 [train, k] values.
        asked: features and targets of the subject's queries; None without.
    """

    kind: Kind
    features: Table
    targets: npt.NDArray[np.generic]
    asked: tuple[Table, npt.NDArray[np.generic]] | None

    @property
    def classes(self) -> int:
        """How many classes there are; for real values how many there are of them."""
        if self.kind == "squared":
            return int(self.targets.shape[1])
        return len(np.unique(self.targets))

    @property
    def width(self) -> int:
        """How many features the linear model has."""
        columns = 1 if self.kind == "logistic" else min(self.classes, MOST_CLASSES)
        most = min(MOST_FEATURES, MOST_WEIGHTS // columns)
        return min(int(self.features.shape[1]), max(most, 8))


def read_material(engine: Engine, queries: Pool | None) -> Material:
    """The features and targets of the subject's examples.

    Raises:
        MissingOutputsError: the task has no outputs.
        FeatureError: features that are not finite, or all alike.
        LabelError: labels of one class.
        PoolError: too few examples.
    """
    trained = engine.evaluate()
    if len(trained.ids) < LEAST_ROWS:
        raise PoolError(
            f"The train pool has {len(trained.ids)} examples: correlations over them need "
            f"{LEAST_ROWS} or more."
        )
    targets = _targets(trained)
    classes = np.unique(targets) if targets.ndim == 1 else None
    if classes is not None and len(classes) < 2:
        raise LabelError(
            f"All {len(targets):,} training examples are of class {classes[0]}: the mirror audit "
            "needs two classes or more."
        )
    kind: Kind = "squared" if classes is None else "logistic" if len(classes) == 2 else "softmax"
    asked = None
    if queries is not None:
        asked = (_features(engine, queries, "queries"), _targets(engine.evaluate(queries)))
    return Material(kind, _features(engine, None, "train pool"), targets, asked)


def make_probe(material: Material, *, rows: int, decay: float, seed: int) -> Probe:
    """A linear model's data: so many training rows, and candidates for queries.

    Raises:
        PoolError: too few examples are left.
    """
    notes: list[str] = []
    places = np.arange(len(material.targets))
    if material.kind == "softmax" and material.classes > MOST_CLASSES:
        names, counts = np.unique(material.targets, return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")[:MOST_CLASSES]]
        places = places[np.isin(material.targets, frequent)]
        notes.append(
            f"The linear model knows the {MOST_CLASSES} most frequent of {len(names)} classes."
        )
    order = stream(seed, "rows of the linear model").permutation(places)
    held = 0
    if material.asked is None:
        held = min(round(HELD_OUT * len(order)), CANDIDATES)
    chosen = np.sort(order[held : held + rows])
    if len(chosen) < LEAST_ROWS * (1 - HELD_OUT):
        raise PoolError(
            f"{len(chosen)} examples are left to train a linear model on: {LEAST_ROWS} or more are "
            "needed."
        )
    if len(chosen) < len(places) - held:
        notes.append(
            f"The linear model was trained on {len(chosen):,} of {len(places) - held:,} training "
            "examples, drawn at random."
        )
    whole = material.asked or (material.features[order[:held]], material.targets[order[:held]])
    drawn = stream(seed, "candidates").permutation(len(whole[0]))[:CANDIDATES]
    if len(drawn) < len(whole[0]):
        notes.append(
            f"Queries were looked for among {len(drawn):,} of {len(whole[0]):,} evaluation "
            "examples, drawn at random."
        )
    asked = (whole[0][np.sort(drawn)], whole[1][np.sort(drawn)])
    inputs, others = _reduced(material, chosen, asked[0], notes)
    problem, candidates = _problem(material, chosen, inputs, (others, asked[1]), decay)
    return Probe(problem, candidates, chosen, notes)


def _problem(
    material: Material,
    chosen: Positions,
    inputs: Table,
    asked: tuple[Table, npt.NDArray[np.generic]],
    decay: float,
) -> tuple[Problem, Asked]:
    """Targets in the form the loss wants; queries of unknown classes are left out."""
    own = material.targets[chosen]
    if material.kind == "squared":
        values, others = own.astype(np.float64), asked[1].astype(np.float64)
        centre, spread = values.mean(axis=0), values.std(axis=0)
        if not (spread > 0).all():
            raise LabelError("A target has one value for every training example: there is nothing "
                             "to learn.")  # fmt: skip
        targets, wanted = (values - centre) / spread, (others - centre) / spread
        known = np.ones(len(others), dtype=bool)
    else:
        classes, places = np.unique(own, return_inverse=True)
        if len(classes) < 2:
            raise LabelError(
                f"All training examples that were drawn are of class {classes[0]}: the mirror "
                "audit needs two classes or more."
            )
        known = np.isin(asked[1], classes)
        among = np.searchsorted(classes, asked[1][known])
        if material.kind == "logistic":
            targets, wanted = places[:, None].astype(np.float64), among[:, None].astype(np.float64)
        else:
            targets, wanted = np.eye(len(classes))[places], np.eye(len(classes))[among]
    if not known.any():
        raise DataError("No query is of a class that the training examples have: nothing can be "
                        "asked.")  # fmt: skip
    problem = Problem(with_bias(inputs), targets, material.kind, decay)
    return problem, Asked(with_bias(asked[0][known]), wanted)


def _reduced(
    material: Material, chosen: Positions, others: Table, notes: list[str]
) -> tuple[Table, Table]:
    """Standardized features, or their leading principal components where there are too many."""
    own = material.features[chosen]
    centre, spread = own.mean(axis=0), own.std(axis=0)
    moving = spread > 1e-8 * max(float(spread.max()), 1e-300)
    if not moving.any() or spread.max() == 0:
        raise FeatureError(
            "The model's features are the same for every training example: no linear model can "
            "tell them apart."
        )
    own, others = ((part[:, moving] - centre[moving]) / spread[moving] for part in (own, others))
    width = min(material.width, own.shape[1])
    if width < own.shape[1]:
        _, sizes, axes = np.linalg.svd(own, full_matrices=False)
        held = float((sizes[:width] ** 2).sum() / (sizes**2).sum())
        own, others = own @ axes[:width].T, others @ axes[:width].T
        notes.append(
            f"The linear model sees the first {width} principal components of {len(axes[0])} "
            f"features, which hold {held:.0%} of their variance."
        )
    return own, others


def _features(engine: Engine, pool: Pool | None, name: str) -> Table:
    found = engine.features(pool).astype(np.float64)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise FeatureError(
            f"The model's features of {int((~finite).sum()):,} examples of the {name} are not "
            "finite: look for NaN or infinite inputs or weights."
        )
    return found


def _targets(evaluation: Evaluation) -> npt.NDArray[np.generic]:
    if evaluation.targets is None:
        raise MissingOutputsError(
            "The mirror audit needs a task with outputs, class scores or real values, and this one "
            "has none: without them there is no linear model whose retraining is exact; define "
            "`outputs` and set `likelihood`."
        )
    return evaluation.targets
