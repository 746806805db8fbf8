from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from auditkit_mirror.agreement import pearson, spearman
from auditkit_mirror.convex import Problem, fit
from auditkit_mirror.study import Asked, convex_mirror, highest_loss, joined, query_losses

from auditkit import errors
from auditkit.progress import SILENT, Step

Case = tuple[Problem, Asked]


class Stops:
    """Progress during which somebody presses Ctrl-C at the third block."""

    @contextmanager
    def step(self, description: str, total: int) -> Iterator[Step]:
        yield _Step()


class _Step:
    calls = 0

    def advance(self, amount: int = 1) -> None:
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt


def test_both_sides_are_what_their_definitions_say(small: Case) -> None:
    from dataclasses import replace

    problem, asked = small
    optimum = fit(problem)
    found = convex_mirror(optimum, asked, folder=None, progress=SILENT)
    without = fit(replace(problem, inputs=problem.inputs[1:], targets=problem.targets[1:]))
    change = query_losses(problem, without.weights[None], asked)[:, 0]
    change -= query_losses(problem, optimum.weights[None], asked)[:, 0]
    assert found.train_to_test[:, 0] == pytest.approx(change, abs=1e-7)
    with_it = fit(
        replace(
            problem,
            inputs=np.vstack([problem.inputs, asked.inputs[2]]),
            targets=np.vstack([problem.targets, asked.targets[2]]),
        )
    )
    before, after = (
        problem.family.loss(problem.inputs @ each.weights, problem.targets)
        for each in (optimum, with_it)
    )
    assert found.test_to_train[2] == pytest.approx(before - after, abs=1e-7)


def test_the_hypothesis_holds_on_digits_and_ranks_follow_where_small_changes_are_seen(
    digits: Case,
) -> None:
    problem, candidates = digits
    optimum = fit(problem)
    chosen = highest_loss(optimum, candidates, 10)
    asked = Asked(candidates.inputs[chosen], candidates.targets[chosen])
    found = convex_mirror(optimum, asked, folder=None, progress=SILENT)
    ranks = [
        spearman(found.train_to_test, side).mean()
        for side in (found.test_to_train, found.kept, found.limit)
    ]
    assert pearson(found.train_to_test, found.test_to_train).mean() > 0.994
    assert 0.73 < ranks[0] < ranks[1] < ranks[2]
    assert ranks[2] > 0.995


def test_the_queries_of_highest_loss_come_first(digits: Case) -> None:
    problem, candidates = digits
    optimum = fit(problem)
    losses = query_losses(problem, optimum.weights[None], candidates)[:, 0]
    chosen = highest_loss(optimum, candidates, 7)
    assert losses[chosen].tolist() == sorted(losses, reverse=True)[:7]


def test_further_queries_have_the_influence_they_would_have_as_queries(digits: Case) -> None:
    problem, candidates = digits
    optimum = fit(problem)
    first, more = (
        Asked(candidates.inputs[where], candidates.targets[where])
        for where in (slice(0, 2), slice(2, 5))
    )
    apart = convex_mirror(optimum, first, others=more, folder=None, progress=SILENT)
    whole = convex_mirror(optimum, joined(first, more), folder=None, progress=SILENT)
    assert np.vstack([apart.train_to_test, apart.others]) == pytest.approx(whole.train_to_test)
    assert apart.test_to_train == pytest.approx(whole.test_to_train[:2])


def test_a_study_that_was_interrupted_goes_on_with_equal_results(
    digits: Case, tmp_path: Path
) -> None:
    problem, candidates = digits
    optimum, asked = fit(problem), Asked(candidates.inputs[:3], candidates.targets[:3])
    with pytest.raises(KeyboardInterrupt):
        convex_mirror(optimum, asked, folder=tmp_path / "work", progress=Stops())
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("rows-*")}
    assert len(done) == 3
    resumed = convex_mirror(optimum, asked, folder=tmp_path / "work", progress=SILENT)
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("rows-*")}
    assert len(again) == 5
    assert {name: again[name] for name in done} == done
    whole = convex_mirror(optimum, asked, folder=None, progress=SILENT)
    for name in ("train_to_test", "test_to_train", "kept", "limit", "steps"):
        assert np.array_equal(getattr(resumed, name), getattr(whole, name))


def test_a_folder_of_another_study_is_refused(digits: Case, tmp_path: Path) -> None:
    problem, candidates = digits
    optimum = fit(problem)
    for count in (2, 3):
        asked = Asked(candidates.inputs[:count], candidates.targets[:count])
        if count == 2:
            convex_mirror(optimum, asked, folder=tmp_path, progress=SILENT)
            continue
        with pytest.raises(errors.StoreError, match="holds pieces of another study"):
            convex_mirror(optimum, asked, folder=tmp_path, progress=SILENT)


def test_a_piece_that_is_damaged_is_said(digits: Case, tmp_path: Path) -> None:
    problem, candidates = digits
    optimum, asked = fit(problem), Asked(candidates.inputs[:2], candidates.targets[:2])
    convex_mirror(optimum, asked, folder=tmp_path, progress=SILENT)
    (tmp_path / "rows-000064.npy").write_bytes(b"nothing")
    with pytest.raises(errors.StoreError, match=r"rows-000064.npy cannot be read"):
        convex_mirror(optimum, asked, folder=tmp_path, progress=SILENT)
