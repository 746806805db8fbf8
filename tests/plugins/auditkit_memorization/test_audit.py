from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from auditkit_memorization import MemorizationAudit
from auditkit_memorization.correctness import retrained_halves
from auditkit_memorization.settings import Context
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

import auditkit
from auditkit import errors, testing
from tests.plugins.auditkit_memorization.conftest import COUNT, NEGATIVES, Digits

QUICK = {"retrainings": 1, "repeats": 1, "epochs": 4}


def test_the_audit_fits_in() -> None:
    testing.check_audit(MemorizationAudit)


def test_wrong_labels_and_rare_examples_are_the_memorized_ones(
    run: auditkit.Run, digits: Digits
) -> None:
    frame = run.findings.frame
    odd = (digits.wrong | digits.negative)[frame["example_id"].cast(int).to_numpy()]
    assert average_precision_score(odd, frame["score"].to_numpy()) > 0.85


def test_estimates_agree_with_many_trainings(
    run: auditkit.Run, digits: Digits, make_context: Callable[..., Context]
) -> None:
    """Feldman and Zhang's own estimate, of forty trainings on other halves."""
    halves = retrained_halves(replace(make_context(digits.subject), seed=77), count=40)
    sides = (halves.members, ~halves.members)
    counted = [(halves.right & side).sum(axis=0) / side.sum(axis=0) for side in sides]
    frame = run.findings.frame
    true = (counted[0] - counted[1])[frame["example_id"].cast(int).to_numpy()]
    assert spearmanr(frame["score"].to_numpy(), true)[0] > 0.7
    assert frame["score"].mean() == pytest.approx(true.mean(), abs=0.05)
    assert run.record.rate == pytest.approx((true > 0.5).mean(), abs=0.05)


def test_wrong_labels_are_told_from_rare_examples(run: auditkit.Run, digits: Digits) -> None:
    frame = run.findings.frame
    places = frame["example_id"].cast(int).to_numpy()
    verdict = frame["verdict"].to_numpy()
    wrong, negative = digits.wrong[places], digits.negative[places]
    assert wrong[verdict == "mislabelled"].mean() > 0.8
    assert (verdict[negative] == "mislabelled").mean() < 0.3
    assert (verdict[wrong] == "learnt").mean() < 0.1
    doubt = frame["wrong_label_probability"].to_numpy()
    assert doubt[wrong].mean() > doubt[negative].mean() + 0.2


def test_every_example_has_a_row_with_the_audits_columns(run: auditkit.Run, digits: Digits) -> None:
    frame = run.findings.frame
    assert sorted(frame["example_id"]) == sorted(digits.subject.train.ids)
    assert frame.columns[5:] == [
        "verdict", "given_label", "held_out_label", "probability_with", "probability_without",
        "wrong_label_probability", "training_loss", "leaning_examples",
    ]  # fmt: skip
    difference = frame["probability_with"] - frame["probability_without"]
    assert frame["score"].to_list() == pytest.approx(difference.to_list())
    assert (frame["flagged"] == (frame["score"] >= 0.5)).all()
    assert frame["probability"].is_between(0, 1).all()


def test_the_rare_group_stands_out(run: auditkit.Run) -> None:
    rows = {(row["column"], row["group"]): row
            for row in run.result.tables["groups"].iter_rows(named=True)}  # fmt: skip
    negative = rows["scan", "negative"]
    assert negative["examples"] == NEGATIVES
    assert negative["share"] > negative["share elsewhere"]
    assert negative["q"] < 0.05


def test_the_confirmation_is_part_of_the_result(run: auditkit.Run) -> None:
    assert run.record.summary["left out to confirm"] == 50
    assert run.result.tables["accuracies"].height == 3
    assert run.record.summary["evaluation examples asked"] == 120


def test_without_queries_that_is_said(digits: Digits, tmp_path: Path) -> None:
    subject = replace(digits.subject, queries=None)
    run = auditkit.run(MemorizationAudit, subject, out=tmp_path, settings=QUICK)
    assert any("No evaluation examples were given" in note.text for note in run.record.notes)
    assert "leaning_examples" not in run.findings.frame.columns


def test_the_train_pool_as_evaluation_set_is_warned_of(digits: Digits, tmp_path: Path) -> None:
    subject = replace(digits.subject, queries=digits.subject.train.subset(range(COUNT)))
    run = auditkit.run(MemorizationAudit, subject, out=tmp_path, settings=QUICK)
    said = [note.text for note in run.record.notes if note.level == "warning"]
    assert any("is the train pool itself" in text for text in said)
    other = auditkit.run(MemorizationAudit, digits.subject, out=tmp_path, settings=QUICK)
    assert not any("is the train pool itself" in note.text for note in other.record.notes)


def test_without_trainings_no_probability_is_claimed(digits: Digits, tmp_path: Path) -> None:
    settings = {**QUICK, "retrainings": 0, "pairs": 50}
    run = auditkit.run(MemorizationAudit, digits.subject, out=tmp_path, settings=settings)
    assert run.findings.frame["probability"].null_count() == 500
    notes = " ".join(note.text for note in run.record.notes)
    assert "not calibrated" in notes
    assert "Of 120 evaluation examples, 50" in notes
    assert run.record.rate == run.findings.flagged.height / 500


def test_one_class_is_refused(digits: Digits, tmp_path: Path) -> None:
    pool = auditkit.Pool.from_arrays(
        np.zeros((20, 64), dtype=np.float32), np.zeros(20, dtype=np.int64)
    )
    subject = replace(digits.subject, train=pool, queries=None)
    with pytest.raises(errors.LabelError, match="of one class"):
        auditkit.run(MemorizationAudit, subject, out=tmp_path)


def test_a_regression_task_is_refused(tmp_path: Path) -> None:
    subject = testing.tiny_subject(examples=40, likelihood="gaussian", epochs=1)
    with pytest.raises(errors.MissingOutputsError, match="needs a task with categorical or tokens"):
        auditkit.run(MemorizationAudit, subject, out=tmp_path)


@pytest.mark.parametrize("labelled", [True, False], ids=["another shape", "no labels"])
def test_queries_of_another_form_are_refused(
    digits: Digits, tmp_path: Path, labelled: bool
) -> None:
    images, labels = np.zeros((9, 32 if labelled else 64), np.float32), np.zeros(9, np.int64)
    arrays = (images, labels) if labelled else (images,)
    subject = replace(digits.subject, queries=auditkit.Pool.from_arrays(*arrays))
    with pytest.raises(errors.PoolError, match="hold different things"):
        auditkit.run(MemorizationAudit, subject, out=tmp_path)


def test_a_column_that_is_not_there_is_refused_before_anything_is_trained(
    digits: Digits, tmp_path: Path
) -> None:
    with pytest.raises(errors.ColumnError, match="'scan'"):
        auditkit.run(MemorizationAudit, digits.subject, out=tmp_path, settings={"by": "scans"})
    assert list(tmp_path.iterdir()) == []
