from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from auditkit_mislabel import MislabelAudit
from auditkit_mislabel.audit import MislabelSettings
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

import auditkit
from auditkit import errors, testing
from auditkit.demo import Demo, digits


@pytest.fixture(scope="module")
def demo() -> Demo:
    return digits(examples=1_000, epochs=15)


@pytest.fixture(scope="module")
def run(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> auditkit.Run:
    return auditkit.run("mislabel", demo.subject, out=tmp_path_factory.mktemp("runs"))


def precision(run: auditkit.Run, demo: Demo) -> float:
    frame = run.findings.frame
    wrong = [name in demo.planted for name in frame["example_id"]]
    return float(average_precision_score(wrong, frame["score"].to_numpy()))


def test_the_audit_fits_in() -> None:
    testing.check_audit(MislabelAudit)


@pytest.mark.parametrize(
    ("count", "epochs"), [(100_000, 5), (10_000, 5), (3_000, 7), (2_500, 8), (600, 12), (20, 12)]
)
def test_small_pools_are_replayed_longer(count: int, epochs: int) -> None:
    assert MislabelSettings().replay_epochs(count, 64) == epochs
    assert MislabelSettings(epochs=3).replay_epochs(count, 64) == 3


def test_wrong_labels_are_found_and_counted(run: auditkit.Run, demo: Demo) -> None:
    assert precision(run, demo) > 0.9
    assert run.record.summary["estimated wrong labels"] == pytest.approx(len(demo.planted), rel=0.3)
    assert run.record.rate == pytest.approx(len(demo.planted) / 1_000, rel=0.3)


def test_every_example_has_a_row_with_the_audits_columns(run: auditkit.Run, demo: Demo) -> None:
    frame = run.findings.frame
    assert sorted(frame["example_id"]) == sorted(demo.subject.train.ids)
    assert frame.columns[5:9] == [
        "given_label", "suggested_label", "training_loss", "loss_outside",
    ]  # fmt: skip
    assert (frame["given_label"] != frame["suggested_label"]).all()
    assert (frame["flagged"] == (frame["probability"] >= 0.5)).all()


def test_budgets_say_how_many_findings_are_expected_to_be_real(run: auditkit.Run) -> None:
    budgets = run.result.tables["budgets"]
    probability = run.findings.frame["probability"]
    assert budgets["reviewed"].to_list() == [20, 100, 500]
    assert budgets["expected wrong"][1] == pytest.approx(probability[:100].sum())


def test_baselines_stand_beside_with_their_agreement(run: auditkit.Run) -> None:
    assert "confident_learning" in run.findings.frame.columns
    assert set(run.result.tables["agreement"]["baseline"]) == {
        "training loss", "confident learning",
    }  # fmt: skip
    recovery = dict(run.result.tables["recovery"].iter_rows())
    assert recovery["auditkit"] > 0.8
    assert {"loss out of sample", "confident learning"} <= set(recovery)


def test_a_thorough_run_ranks_as_well(demo: Demo, tmp_path: Path) -> None:
    thorough = auditkit.run("mislabel", demo.subject, out=tmp_path, settings={"thorough": True})
    assert precision(thorough, demo) > 0.9


def test_a_trusted_set_and_checkpoints_are_used_and_said(demo: Demo, tmp_path: Path) -> None:
    train = demo.subject.train
    right = [place for place, name in enumerate(train.ids) if name not in demo.planted]
    subject = replace(
        demo.subject,
        train=train.subset([place for place in range(1_000) if place not in right[:150]]),
        queries=train.subset(right[:150]),
        checkpoints=[demo.subject.task.model.state_dict()],
    )
    run = auditkit.run("mislabel", subject, out=tmp_path)
    notes = " ".join(note.text for note in run.record.notes)
    assert "150 trusted examples" in notes
    assert "1 checkpoint" in notes
    assert len(run.findings) == 850
    assert precision(run, demo) > 0.9


def test_one_class_is_refused(demo: Demo, tmp_path: Path) -> None:
    train = demo.subject.train
    pool = auditkit.Pool.from_arrays(
        np.stack([train[place][0] for place in range(50)]), np.zeros(50, dtype=np.int64)
    )
    with pytest.raises(errors.LabelError, match="one class"):
        auditkit.run("mislabel", replace(demo.subject, train=pool), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_pool_too_small_to_plant_in_says_what_was_not_measured(
    demo: Demo, tmp_path: Path
) -> None:
    train = demo.subject.train
    labels = np.array([int(train[place][1]) for place in range(200)])
    few = np.concatenate([np.flatnonzero(labels == label)[:6] for label in (0, 1)])
    subject = replace(demo.subject, train=train.subset(few))
    settings = {"epochs": 1, "threshold": 0.001}
    run = auditkit.run("mislabel", subject, out=tmp_path, settings=settings)
    assert run.record.summary["planted labels"] == 0
    assert run.record.answer.endswith("flagged (from 0.001).")
    trust = MislabelAudit().sections(run.result)[-1]
    assert "was not measured" in trust.paragraphs[0]
    assert not trust.figures


def test_names_that_do_not_fit_the_classes_are_refused(demo: Demo, tmp_path: Path) -> None:
    class Own(auditkit.Task):
        likelihood = "categorical"
        of_digits = demo.subject.task

        def outputs(self, model: nn.Module, batch: object) -> tuple[Tensor, Tensor]:
            return self.of_digits.outputs(model, batch)

        def loss(self, model: nn.Module, batch: object) -> Tensor:
            return self.of_digits.loss(model, batch)

    subject = replace(
        demo.subject,
        task=Own(demo.subject.task.model, class_names=["even", "odd"]),
        train=demo.subject.train.subset(range(200)),
    )
    with pytest.raises(errors.LabelError, match="2 class names and its outputs are of 10"):
        auditkit.run("mislabel", subject, out=tmp_path, settings={"epochs": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_class_outputs_is_refused(tmp_path: Path, demo: Demo) -> None:
    task = auditkit.RegressionTask(demo.subject.task.model)
    with pytest.raises(errors.MissingOutputsError, match="categorical"):
        auditkit.run("mislabel", replace(demo.subject, task=task), out=tmp_path)


def test_clean_data_is_called_nearly_clean(tmp_path: Path) -> None:
    clean = digits(share=0.0, examples=1_000, epochs=15)
    run = auditkit.run("mislabel", clean.subject, out=tmp_path)
    assert run.record.rate < 0.03


def test_a_class_with_one_example_is_refused_before_anything_is_trained(
    demo: Demo, tmp_path: Path
) -> None:
    train = demo.subject.train
    images = np.stack([train[place][0] for place in range(50)])
    labels = np.r_[np.zeros(25, dtype=np.int64), np.ones(24, dtype=np.int64), [7]]
    pool = auditkit.Pool.from_arrays(images, labels)
    with pytest.raises(errors.LabelError, match="Class 7 has one example"):
        auditkit.run("mislabel", replace(demo.subject, train=pool), out=tmp_path)


def test_a_model_that_cannot_tell_the_classes_apart_is_warned_of(
    demo: Demo, tmp_path: Path
) -> None:
    train = demo.subject.train
    random = np.random.default_rng(0)
    images = random.normal(size=(300, 1, 8, 8)).astype(np.float32)
    pool = auditkit.Pool.from_arrays(images, random.integers(0, 10, 300))
    assert train[0][0].shape == images[0].shape
    run = auditkit.run("mislabel", replace(demo.subject, train=pool), out=tmp_path)
    warnings = [note.text for note in run.record.notes if note.level == "warning"]
    assert any("audit through a better model" in text for text in warnings)


def test_where_most_labels_are_in_doubt_none_are_left_out_of_a_second_replay(
    demo: Demo, tmp_path: Path
) -> None:
    train = demo.subject.train
    images = np.stack([train[place][0] for place in range(300)])
    wrong = np.array([(int(train[place][1]) + 1) % 10 for place in range(300)])
    subject = replace(
        demo.subject,
        train=auditkit.Pool.from_arrays(images, wrong),
        recipe=replace(demo.subject.recipe, optimizer="sgd", learning_rate=1e-6),
        pretrained=demo.subject.task.model.state_dict(),  # shrunk toward itself, it stays
    )
    run = auditkit.run("mislabel", subject, out=tmp_path, settings={"thorough": True})
    assert any("was not thorough" in note.text for note in run.record.notes)


def test_the_labels_of_neighbours_are_heard(run: auditkit.Run) -> None:
    assert run.record.summary["neighbours heard"] is True
    assert not any("neighbours" in note.text for note in run.record.notes)


def few(demo: Demo) -> auditkit.Pool:
    return demo.subject.train.subset(np.arange(300))


def test_a_model_without_features_is_audited_without_neighbours(demo: Demo, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    subject = auditkit.Subject(task=auditkit.ClassificationTask(model), train=few(demo))
    run = auditkit.run("mislabel", subject, out=tmp_path, settings={"epochs": 1})
    assert run.record.summary["neighbours heard"] is False
    assert any(
        "neighbours are not heard" in note.text and "no torch.nn.Linear" in note.text
        for note in run.record.notes
    )


class Directionless(auditkit.ClassificationTask):
    """A task whose features say nothing."""

    def features(self, model: nn.Module, batch: auditkit.Batch) -> Tensor:
        return torch.full((len(batch[0]), 3), float("nan"))


def test_features_that_say_nothing_do_no_harm(demo: Demo, tmp_path: Path) -> None:
    task = Directionless(demo.subject.task.model)
    subject = replace(demo.subject, task=task, train=few(demo))
    run = auditkit.run("mislabel", subject, out=tmp_path, settings={"epochs": 1, "thorough": True})
    assert run.record.summary["neighbours heard"] is False
    assert any("not heard" in note.text for note in run.record.notes)
    assert np.isfinite(run.findings.frame["score"].to_numpy()).all()
