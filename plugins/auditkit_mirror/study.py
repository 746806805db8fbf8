"""The convex study: both influences of every training example on every query, by retraining."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit_mirror.convex import TOLERANCE, Optimum, Problem
from auditkit_mirror.kept import Facts, Kept, digest
from auditkit_mirror.retrained import Regularizer, add_one, leave_one_out

if TYPE_CHECKING:
    from auditkit.progress import Progress

Table = npt.NDArray[np.float64]

BLOCK = 64
"""Retrainings that are solved together."""

PART = 0.01
"""How much of a query is put in where the limit of small changes is wanted."""


@dataclass(frozen=True)
class Asked:
    """The queries of a study.

    Attributes:
        inputs: float64 [query, feature], with the bias feature if the problem has one.
        targets: float64 [query, column].
    """

    inputs: Table
    targets: Table


@dataclass(frozen=True)
class ConvexMirror:
    """Both influences, [query, row]; positive where the one helps the other.

    Attributes:
        train_to_test: how much higher the query's loss is without the training example.
        test_to_train: how much lower the training example's loss is with the query in training.
        kept: the same, where the query does not strengthen the regularizer.
        limit: the same for a hundredth of the query, times a hundred.
        others: train-to-test influence on further queries, [other, row].
        steps: int64 [row]; Newton steps of each leave-one-out retraining.
    """

    train_to_test: Table
    test_to_train: Table
    kept: Table
    limit: Table
    others: Table
    steps: npt.NDArray[np.int64]


def highest_loss(optimum: Optimum, asked: Asked, count: int) -> npt.NDArray[np.int64]:
    """The candidates that the model predicts worst, as the authors choose queries."""
    losses = query_losses(optimum.problem, optimum.weights[None], asked)[:, 0]
    found: npt.NDArray[np.int64] = np.argsort(-losses, kind="stable")[:count].astype(np.int64)
    return found


def query_losses(problem: Problem, weights: Table, asked: Asked) -> Table:
    """The loss of each query under each model, [query, case]; weights [case, feature, column]."""
    outputs = np.tensordot(asked.inputs, weights, axes=([1], [1]))  # [query, case, column]
    return problem.family.loss(outputs, asked.targets[:, None])


def joined(first: Asked, second: Asked) -> Asked:
    """The queries of both."""
    return Asked(
        np.concatenate([first.inputs, second.inputs]),
        np.concatenate([first.targets, second.targets]),
    )


def convex_mirror(
    optimum: Optimum,
    asked: Asked,
    *,
    others: Asked | None = None,
    tolerance: float = TOLERANCE,
    folder: Path | None,
    progress: Progress,
) -> ConvexMirror:
    """Leave every training example out, put every query in, and read both sides.

    Args:
        optimum: the model trained on all training examples.
        asked: the queries.
        others: further queries, of which train-to-test influence alone is wanted: it costs next to
            nothing once the training examples are left out.
        tolerance: of every retraining.
        folder: where finished blocks are kept; a second call goes on from there.
        progress: is told of every leave-one-out retraining.

    Raises:
        DataError: a retraining does not converge.
        StoreError: the folder holds another study, or cannot be written or read.
    """
    problem = optimum.problem
    every = asked if others is None else joined(asked, others)
    facts: Facts = {
        "problem": digest([problem.inputs, problem.targets, every.inputs, every.targets]),
        "kind": problem.kind,
        "decay": problem.decay,
        "tolerance": tolerance,
    }
    kept = Kept(folder, facts)
    train_to_test, steps = _train_to_test(optimum, every, tolerance, kept, progress)
    count = len(asked.inputs)
    whole, same, limit = _test_to_train(optimum, asked, tolerance, kept, progress)
    return ConvexMirror(
        train_to_test=train_to_test[:count],
        test_to_train=whole,
        kept=same,
        limit=limit,
        others=train_to_test[count:],
        steps=steps,
    )


def _test_to_train(
    optimum: Optimum, asked: Asked, tolerance: float, kept: Kept, progress: Progress
) -> list[Table]:
    """How much each query helps each row, [query, row], in three ways of putting it in."""
    ways: list[tuple[Regularizer, float]] = [("scaled", 1.0), ("kept", 1.0), ("kept", PART)]
    sides = []
    with progress.step("test to train", len(ways)) as step:
        for regularizer, part in ways:
            name = f"queries-{regularizer}-{part:g}"
            found = kept.get(name)
            if found is None:
                again = add_one(
                    optimum,
                    asked.inputs,
                    asked.targets,
                    weight=part,
                    tolerance=tolerance * part,
                    regularizer=regularizer,
                )
                found = kept.put(name, _helped(optimum, again.weights) / part)
            sides.append(found)
            step.advance()
    return sides


def _train_to_test(
    optimum: Optimum, asked: Asked, tolerance: float, kept: Kept, progress: Progress
) -> tuple[Table, npt.NDArray[np.int64]]:
    """How much each query's loss rises without each row, [query, row], and the steps it took."""
    problem, blocks = optimum.problem, []
    before = query_losses(problem, optimum.weights[None], asked)
    with progress.step("train to test", problem.rows) as step:
        for start in range(0, problem.rows, BLOCK):
            rows = np.arange(start, min(start + BLOCK, problem.rows))
            found = kept.get(f"rows-{start:06d}")
            if found is None:
                without = leave_one_out(optimum, rows, tolerance=tolerance)
                risen = query_losses(problem, without.weights, asked) - before
                found = kept.put(f"rows-{start:06d}", np.vstack([risen, without.steps]))
            blocks.append(found)
            step.advance(len(rows))
    whole = np.hstack(blocks)
    return whole[:-1], whole[-1].astype(np.int64)


def _helped(optimum: Optimum, weights: Table) -> Table:
    """How much lower each training loss is under each model, [case, row]."""
    problem = optimum.problem
    before = problem.family.loss(problem.inputs @ optimum.weights, problem.targets)
    after = [problem.family.loss(problem.inputs @ each, problem.targets) for each in weights]
    found: Table = before - np.stack(after)
    return found
