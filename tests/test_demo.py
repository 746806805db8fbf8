from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from auditkit import Findings
from auditkit.demo import Demo, Verdict, digits, verdict
from auditkit.errors import SettingError
from auditkit.fingerprint import of_pool, of_weights


@pytest.fixture(scope="module")
def demo() -> Demo:
    return digits(examples=200, epochs=2, seed=3)


def labels(demo: Demo) -> list[int]:
    pool = demo.subject.train
    return [int(pool[place][1]) for place in range(len(pool))]  # type: ignore[index]


def test_the_planted_labels_are_wrong_and_all_others_right(demo: Demo) -> None:
    truth = load_digits().target[:200].tolist()
    wrong = {str(place) for place, label in enumerate(labels(demo)) if label != truth[place]}
    assert wrong == demo.planted
    assert len(wrong) == 10
    assert set(labels(demo)) == set(range(10))


def test_a_seed_gives_the_same_subject_and_another_another(demo: Demo) -> None:
    again, other = digits(examples=200, epochs=2, seed=3), digits(examples=200, epochs=2, seed=4)
    assert of_pool(again.subject.train) == of_pool(demo.subject.train)
    assert of_weights(again.subject.task.model) == of_weights(demo.subject.task.model)
    assert other.planted != demo.planted
    assert of_weights(other.subject.task.model) != of_weights(demo.subject.task.model)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingError, match="toaster"):
        digits(examples=50, device="toaster")


def test_precision_and_recall_are_those_of_the_flagged() -> None:
    findings = Findings.ranked(
        list("abcde"), np.arange(5.0), flagged=np.array([True, True, True, True, False])
    )
    judged = verdict(findings, frozenset({"a", "b", "e"}))
    assert judged == Verdict(flagged=4, planted=3, right=2)
    assert (judged.precision, judged.recall) == (0.5, 2 / 3)
    assert "2 of the 4 flagged labels are wrong (precision 50%)" in judged.sentence
    assert Verdict(flagged=0, planted=0, right=0).precision == 1.0
