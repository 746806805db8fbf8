from __future__ import annotations

import math

import pytest

from auditkit.report.wording import decimals_for, number, percent, seconds, size, title_of
from auditkit.results import Number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (True, "yes"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        (31.24, "31.2"),
        (0.7, "0.7"),
        (0.03456, "0.0346"),
        (3.2e-9, "3.2e-09"),
        (0.0, "0"),
        (120.0, "120"),
        (math.nan, "nan"),
        ("words stay", "words stay"),
    ],
)
def test_numbers_have_as_many_digits_as_mean_something(value: Number, text: str) -> None:
    assert number(value) == text


def test_a_column_has_one_number_of_decimals() -> None:
    decimals = decimals_for([0.5, 12.25, math.inf])
    assert [number(value, decimals=decimals) for value in (0.5, 12.25)] == ["0.5", "12.2"]
    assert decimals_for([]) == 0


def test_names_become_headings() -> None:
    assert title_of("given_label") == "Given label"
    assert title_of("wrong labels") == "Wrong labels"
    assert title_of("") == ""


def test_shares_times_and_sizes() -> None:
    assert [percent(value) for value in (0, 0.0123, 0.5, 0.996, 1)] == [
        *("0%", "1.2%", "50%", "99.6%", "100%"),
    ]
    assert [seconds(value) for value in (3.21, 125.4, 7260)] == ["3.2 s", "2 min 5 s", "2 h 1 min"]
    assert [size(value) for value in (0, 1_234_000_000)] == ["\N{EN DASH}", "1,234 MB"]
