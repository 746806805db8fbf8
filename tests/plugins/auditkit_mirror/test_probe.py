from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditkit_mirror.probe import LEAST_ROWS, MOST_CLASSES, Material, make_probe, read_material

from auditkit import ForwardINF, errors
from auditkit.testing import tiny_subject


def material(
    *, rows: int = 200, features: int = 6, classes: int = 3, kind: str = "softmax"
) -> Material:
    draw = np.random.default_rng(0)
    targets = np.arange(rows) % classes
    own = draw.normal(size=(rows, features)) + targets[:, None]
    if kind == "squared":
        return Material("squared", own, own[:, :2] * 3 + 1, None)
    return Material(kind, own * 7 + 2, targets, None)  # type: ignore[arg-type]


def test_features_are_standardized_and_the_queries_held_out() -> None:
    probe = make_probe(material(), rows=1_000, decay=0.01, seed=0)
    inputs = probe.problem.inputs
    assert inputs[:, :-1].mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-12)
    assert inputs[:, :-1].std(axis=0) == pytest.approx(np.ones(6))
    assert (inputs[:, -1] == 1).all()
    assert len(probe.rows) == 170
    assert len(probe.candidates.inputs) == 30
    assert (probe.problem.targets.argmax(axis=1) == probe.rows % 3).all()
    assert not probe.notes


def test_fewer_rows_are_said() -> None:
    probe = make_probe(material(), rows=60, decay=0.01, seed=0)
    assert len(probe.rows) == 60
    assert "on 60 of 170 training examples" in probe.notes[0]


def test_many_features_are_rotated_onto_few() -> None:
    probe = make_probe(material(features=700), rows=150, decay=0.01, seed=0)
    assert probe.problem.inputs.shape[1] == 151  # no more directions than rows, and the bias
    wide = make_probe(material(features=700, rows=900), rows=900, decay=0.01, seed=0)
    assert wide.problem.inputs.shape[1] == 201
    assert "first 200 principal components of 700 features" in wide.notes[0]


def test_two_classes_are_one_log_odds() -> None:
    probe = make_probe(material(classes=2, kind="logistic"), rows=100, decay=0.01, seed=0)
    assert set(np.unique(probe.problem.targets)) == {0.0, 1.0}
    assert probe.problem.targets.shape == (100, 1)


def test_real_values_are_standardized() -> None:
    probe = make_probe(material(kind="squared"), rows=100, decay=0.01, seed=0)
    assert probe.problem.targets.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    assert probe.problem.targets.std(axis=0) == pytest.approx([1, 1])


def test_only_so_many_classes_are_told_apart() -> None:
    many = material(rows=600, classes=60)
    probe = make_probe(many, rows=600, decay=0.01, seed=0)
    assert probe.problem.targets.shape[1] == MOST_CLASSES
    assert f"the {MOST_CLASSES} most frequent of 60 classes" in probe.notes[0]


def test_queries_of_classes_nobody_trained_on_are_not_asked() -> None:
    own = material()
    asked = (own.features[:4], np.array([0, 9, 2, 9]))
    probe = make_probe(replace(own, asked=asked), rows=100, decay=0.01, seed=0)
    assert len(probe.candidates.inputs) == 2
    with pytest.raises(errors.DataError, match="No query is of a class"):
        make_probe(replace(own, asked=(asked[0], np.full(4, 9))), rows=100, decay=0.01, seed=0)


def test_features_that_are_all_alike_are_refused() -> None:
    alike = replace(material(), features=np.full((200, 6), 3.0))
    with pytest.raises(errors.FeatureError, match="the same for every training example"):
        make_probe(alike, rows=100, decay=0.01, seed=0)


def test_a_target_that_never_changes_is_refused() -> None:
    alike = replace(material(kind="squared"), targets=np.ones((200, 1)))
    with pytest.raises(errors.LabelError, match="one value for every training example"):
        make_probe(alike, rows=100, decay=0.01, seed=0)


def test_what_is_read_is_the_last_layers_input() -> None:
    subject = tiny_subject(examples=LEAST_ROWS, queries=5, epochs=1)
    engine = ForwardINF(subject.required_task(), train=subject.train)
    found = read_material(engine, subject.queries)
    assert found.features.shape == (LEAST_ROWS, 64)
    assert found.asked is not None
    assert found.asked[0].shape == (5, 64)
    assert found.targets.tolist() == [int(subject.train[row][1]) for row in range(LEAST_ROWS)]  # type: ignore[index]
