"""How many draws are taken, what stands out, and what stays under other noises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from auditkit_diffusion.audit import DiffusionAudit
from auditkit_diffusion.measuring import (
    Reference,
    Stability,
    _scaled,
    among_all,
    choose_draws,
    engine_of,
    reference,
    standings,
)
from auditkit_diffusion.settings import Context, DiffusionSettings

from auditkit import AuditContext, ForwardINF, SelfCheck, SourceOptions
from auditkit.sources import load


def context_of(learnt: Path, **settings: int) -> Context:
    subject = load(
        str(learnt / "train"),
        SourceOptions(diffusion=True, model_folder=learnt / "model", generated=(learnt / "made",)),
    )
    engine = ForwardINF(subject.required_task(), train=subject.train)
    return AuditContext(
        subject=subject, settings=DiffusionSettings(**settings), scoring=engine, seed=0
    )


def test_draws_are_as_many_as_the_variance_asks_for(learnt: Path) -> None:
    context = context_of(learnt)
    draws = choose_draws(context)
    assert draws.count in (4, 8, 16, 32, 64)
    assert draws.reliability is not None
    assert draws.reliability >= 0.9 or context.notes
    own = context.subject.required_task().draws
    assert own == 16, "the subject's task is left alone"
    given = choose_draws(context_of(learnt, draws=3))
    assert (given.count, given.reliability) == (3, None)


def test_the_formula_for_more_draws_is_that_of_independent_noise() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=20_000)
    noisy = [truth + 2 * random.normal(size=(count, 20_000)).mean(axis=0) for count in (1, 8)]
    single, eight = (np.corrcoef(truth, one)[0, 1] ** 2 for one in noisy)
    assert _scaled(single, 8) == pytest.approx(eight, abs=0.02)
    assert _scaled(_scaled(single, 8), 1 / 8) == pytest.approx(single)


def test_draws_become_timesteps_first(learnt: Path) -> None:
    context = context_of(learnt)
    for draws, expected in ((4, (4, 1)), (200, (100, 2))):
        task = engine_of(context, draws).task  # type: ignore[attr-defined]  # a ForwardINF
        assert (task.timesteps, task.noises) == expected
    assert engine_of(context, 4, noise=2).task.seed == 2  # type: ignore[attr-defined]


def test_training_images_find_themselves_under_other_noises(learnt: Path) -> None:
    context = context_of(learnt)
    found = reference(context, engine_of(context, 8))
    assert found.check.top1 >= 0.75
    assert (found.check.queries, found.check.candidates) == (8, 40)
    assert found.threshold is not None
    assert found.others.max() < found.threshold < np.median(found.own)


def test_standings_in_a_sample_become_those_among_all() -> None:
    random = np.random.default_rng(0)
    whole = random.normal(size=20_000)
    whole[0] = 100
    sample = standings(whole[None, :512])
    assert sample[0, 0] < 22.7
    [own], [other] = among_all(sample, len(whole))
    assert own == pytest.approx(standings(whole[None])[0, 0], rel=0.05)
    assert other == pytest.approx(standings(whole[None])[0, 1:512].max(), rel=0.1)
    same = [float(part[0]) for part in among_all(sample, 512)]
    assert same == pytest.approx([sample[0, 0], sample[0, 1:].max()])
    assert [float(part[0]) for part in among_all(sample[:, :1], 1)] == [0.0, 0.0]


def test_without_a_gap_nothing_can_stand_out() -> None:
    passed = SelfCheck(queries=2, candidates=9, top1=1.0, top5=1.0)
    failed = SelfCheck(queries=2, candidates=9, top1=0.0, top5=1.0)
    high, low = np.array([9.0, 8.0]), np.array([2.0, 4.0])
    assert Reference(passed, high, low).threshold == pytest.approx((4 * 8.5) ** 0.5)
    assert Reference(passed, low, high).threshold is None
    assert Reference(failed, high, low).threshold is None
    assert Reference(passed, high, np.array([-0.2, -0.1])).threshold == pytest.approx(8.5**0.5)


def test_scores_that_are_all_alike_fail_the_check(
    learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditkit_diffusion.measuring.standings", np.zeros_like)
    context = context_of(learnt)
    found = reference(context, engine_of(context, 4))
    assert not found.check.passed
    assert found.threshold is None


def test_standings_are_in_standard_deviations_and_constant_rows_are_zero() -> None:
    found = standings(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    np.testing.assert_allclose(found[0], np.array([-1, 0, 1]) * (3 / 2) ** 0.5)
    assert (found[1] == 0).all()


def test_what_is_found_again_is_counted() -> None:
    places = np.array([2, 5, 9])
    values = np.array([[[3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0]]])  # [noise, query, candidate]
    again = Stability(places, values, np.ones(3))
    assert again.again(0, 2, side=1, among=1) == 0.5
    assert again.again(0, 2, side=-1, among=1) == 0.5
    assert again.again(0, 5, side=1, among=2) == 1.0
    standing = np.arange(12.0)
    none = Stability(places, values[:0], np.ones(3))
    assert none.again(0, 2, side=1, among=1) is None
    assert none.overlap(0, standing) is None


def test_images_that_were_not_scored_again_count_by_those_that_were() -> None:
    random = np.random.default_rng(0)
    places = np.array([0, *range(10, 110)])  # one kept, and a tenth of a thousand others
    values = np.concatenate([[0.0], random.normal(size=100)])[None, None]
    above = int((values > 0).sum())
    again = Stability(places, values, np.array([1.0, *[10.0] * 100]))
    assert again.again(0, 0, side=1, among=above + 1) == 0.0
    assert again.again(0, 0, side=1, among=10 * above + 1) == 1.0


def test_the_ten_strongest_are_compared_with_all_that_pass_them() -> None:
    places = np.arange(20)
    standing = -np.arange(20.0)
    same, other = standing[None, None], np.roll(standing, 5)[None, None]
    assert Stability(places, same, np.ones(20)).overlap(0, standing) == 1.0
    assert Stability(places, other, np.ones(20)).overlap(0, standing) == 0.5
    entrant = np.where(places == 19, 1.0, standing)[None, None]
    assert Stability(places, entrant, np.ones(20)).overlap(0, standing) == 0.9
    sampled = np.array([*[1.0] * 10, *[50.0] * 10])  # each of the last stands for fifty
    assert Stability(places, entrant, sampled).overlap(0, standing) == 0.0


def test_short_schedules_are_drawn_from_more_often(learnt: Path) -> None:
    context = context_of(learnt, draws=150)
    assert choose_draws(context).count == 150
    assert engine_of(context, 150).task.draws == 150  # type: ignore[attr-defined]


def test_the_audit_says_what_it_is() -> None:
    assert DiffusionAudit.name == "diffusion"
    assert DiffusionAudit.requirements.diffusion
