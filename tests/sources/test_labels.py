import numpy as np
import polars as pl
import pytest

from auditkit.errors import ColumnError, LabelError, PoolError
from auditkit.sources.labels import classes, codes, label_names


def names(values: object, dtype: object = None) -> list[str | None]:
    series = pl.Series("y", values, dtype=dtype)
    return label_names(series, where="The label column 'y' of t.csv").to_list()


def test_labels_are_named_as_a_person_would() -> None:
    assert names(["b", "", None, " ", "a"]) == ["b", None, None, None, "a"]
    assert names([1, 0, None]) == ["1", "0", None]
    assert names([1.0, 2.0, float("nan"), None]) == ["1", "2", None, None]
    assert names([0.5, 2.0]) == ["0.5", "2"]
    assert names(["1.0", "2.0"], pl.Decimal(5, 1)) == ["1", "2"]
    assert names([True, None, False]) == ["true", None, "false"]
    assert names(["x", "y"], pl.Categorical()) == ["x", "y"]


@pytest.mark.parametrize("values", [[None, None], ["", " "], [float("nan")]])
def test_a_column_without_labels_is_refused(values: list[object]) -> None:
    with pytest.raises(ColumnError, match=r"'y' of t.csv is empty in every row"):
        names(values)


@pytest.mark.parametrize(
    "values", [np.linspace(0, 1, 200).tolist(), list(range(100)), [v + 0.5 for v in range(30)]]
)
def test_quantities_are_refused_as_labels(values: list[float]) -> None:
    with pytest.raises(LabelError, match=r"different numbers in \d+ rows.*needs classes"):
        names(values)


def test_many_numbers_may_be_classes_and_infinities_may_not() -> None:
    assert len(set(names([row % 40 for row in range(400)]))) == 40
    with pytest.raises(LabelError, match=r"infinite number"):
        names([1.0, float("inf")])


def test_other_types_are_refused_as_labels() -> None:
    with pytest.raises(ColumnError, match=r"values of type List.*expected texts"):
        names([[1], [2]])


def test_classes_are_in_numeric_or_alphabetical_order() -> None:
    assert classes(["10", "9", "10", "9"], "abcd") == ("9", "10")
    assert classes(["b", "10", "b", "10"], "abcd") == ("10", "b")
    assert classes(["nan", "2", "nan", "2"], "abcd") == ("2", "nan")


def test_too_few_classes_or_examples_are_refused() -> None:
    with pytest.raises(PoolError, match=r"no examples"):
        classes([], [])
    with pytest.raises(LabelError, match=r"All 2 examples are of one class, 'a'"):
        classes(["a", "a"], ["0", "1"])
    with pytest.raises(LabelError, match=r"Class 'b' has one example \('row 9'\): each class"):
        classes(["a", "b", "a"], ["0", "row 9", "2"])
    with pytest.raises(LabelError, match=r"and so have 1 other classes"):
        classes(["a", "b", "a", "c"], "0123")


def test_labels_become_positions_and_unknown_ones_are_named() -> None:
    assert codes(["b", "a"], ("a", "b"), "01", where="t.csv").tolist() == [1, 0]
    with pytest.raises(LabelError, match=r"Example '1' of t.csv has the label 'c', which no train"):
        codes(["b", "c"], ("a", "b"), "01", where="t.csv")
