from __future__ import annotations

import numpy as np
import pytest
from auditkit_mirror.families import FAMILIES, Kind

CASES: list[tuple[Kind, list[float], list[float]]] = [
    ("softmax", [0.3, -1.2, 2.0], [0.0, 1.0, 0.0]),
    ("logistic", [0.7], [0.0]),
    ("logistic", [-40.0], [1.0]),
    ("squared", [0.5, -2.0], [1.0, 1.0]),
]


@pytest.mark.parametrize(("kind", "outputs", "targets"), CASES)
def test_slopes_and_curvatures_are_those_of_the_loss(
    kind: Kind, outputs: list[float], targets: list[float]
) -> None:
    family, at, target = FAMILIES[kind], np.array(outputs), np.array(targets)
    step = 1e-5 * np.eye(len(at))
    slope = (family.loss(at + step, target) - family.loss(at - step, target)) / 2e-5
    assert family.slope(at, target) == pytest.approx(slope, abs=1e-8)
    bent = (family.slope(at + step, target) - family.slope(at - step, target)) / 2e-5
    assert family.curvature(at) == pytest.approx(bent, abs=1e-8)


@pytest.mark.parametrize(("kind", "outputs", "targets"), CASES)
def test_many_models_are_measured_at_once(
    kind: Kind, outputs: list[float], targets: list[float]
) -> None:
    family = FAMILIES[kind]
    many = np.array(outputs) + np.random.default_rng(0).normal(size=(2, 5, len(outputs)))
    target = np.array(targets)
    for place in np.ndindex(2, 5):
        assert family.loss(many, target)[place] == pytest.approx(family.loss(many[place], target))
        assert family.slope(many, target)[place] == pytest.approx(family.slope(many[place], target))
        assert family.curvature(many)[place] == pytest.approx(family.curvature(many[place]))


def test_extreme_outputs_stay_finite() -> None:
    softmax, target = FAMILIES["softmax"], np.array([1.0, 0.0])
    far = np.array([-800.0, 800.0])
    assert softmax.loss(far, target) == pytest.approx(1600.0)
    assert softmax.slope(far, target) == pytest.approx([-1.0, 1.0])
    assert np.isfinite(softmax.curvature(far)).all()
