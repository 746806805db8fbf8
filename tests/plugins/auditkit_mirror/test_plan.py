from __future__ import annotations

from pathlib import Path

import pytest
from auditkit_mirror.plan import GROUP_ROWS, Plan, in_words, kept_plan, make_plan, measured_flops

from auditkit import errors


def plan(budget: float, *, example: float | str = 1e-4, examples: int = 5_000) -> Plan:
    return make_plan(
        budget=budget,
        examples=examples,
        features=64,
        columns=10,
        flops=2e10,
        epoch=lambda: example,
        epochs=10,
    )


def test_a_larger_budget_allows_more() -> None:
    found = [plan(budget) for budget in (1, 3, 10, 60)]
    sizes = [(each.rows, each.group_rows * each.groups * each.seeds) for each in found]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert found[-1].rows == 4_200
    assert (found[-1].group_rows, found[-1].groups, found[-1].seeds) == (1_000, 30, 5)


@pytest.mark.parametrize("budget", [1, 3, 10, 60])
def test_the_estimate_keeps_to_the_budget(budget: float) -> None:
    found = plan(budget)
    assert found.convex_seconds + found.group_seconds <= 60 * budget


def test_too_small_a_budget_is_refused_with_what_it_takes() -> None:
    with pytest.raises(
        errors.DataError, match=r"A budget of 0.01 minutes is too small: .* or more"
    ):
        plan(0.01)


def test_what_the_budget_does_not_allow_is_left_out_and_priced() -> None:
    found = plan(2, example=1.0)
    assert found.group_rows == 0
    assert found.more_minutes > 2
    assert "is left out" in found.sentence


@pytest.mark.parametrize("budget", [0.5, 1, 2])
@pytest.mark.parametrize("example", [3e-3, 0.1, 1.0])
def test_the_budget_that_is_named_is_enough(budget: float, example: float) -> None:
    found = plan(budget, example=example)
    if not found.group_rows:
        assert plan(found.more_minutes * 1.001, example=example).group_rows == GROUP_ROWS[-1]


def test_a_pool_too_small_for_groups_is_told_so_whatever_the_budget() -> None:
    found = plan(1_000, examples=100)
    assert (found.group_rows, found.more_minutes) == (0, 0)
    assert "training examples or more" in found.reason


def test_a_model_that_cannot_be_retrained_is_not_priced() -> None:
    found = plan(10, example="It has no weights.")
    assert (found.group_rows, found.more_minutes) == (0, 0)
    assert found.reason == "It has no weights."


def test_a_small_pool_is_studied_whole() -> None:
    assert plan(60, examples=77).rows == 77


def test_a_plan_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    first = kept_plan(path, lambda: plan(3))
    assert kept_plan(path, lambda: plan(60)) == first == plan(3)
    path.write_text("[]")
    with pytest.raises(errors.StoreError, match=r"plan.json cannot be read or written"):
        kept_plan(path, lambda: plan(3))


def test_the_machine_has_a_speed() -> None:
    assert measured_flops() > 1e7


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "about 1 second"), (30, "about 30 seconds"), (100, "about 2 minutes")],
)
def test_times_are_said_in_words(seconds: float, said: str) -> None:
    assert in_words(seconds) == said
