from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditkit_mislabel.calibration import calibrate

from auditkit import ClassTables, Planted
from tests.plugins.auditkit_mislabel.conftest import Noisy


def planted_in(noisy: Noisy, labels: np.ndarray, positions: np.ndarray) -> ClassTables:
    logs = noisy.logs.astype(np.float32)
    return ClassTables(
        targets=noisy.given,
        inside=logs,
        outside=logs,
        replayed=logs,
        planted=Planted(positions, labels),
    )


def test_planted_labels_stand_for_the_errors_they_are_like(look_alike_noise: Noisy) -> None:
    positions = np.flatnonzero(look_alike_noise.given == 0)[:100]
    labels = np.where(np.arange(100) < 50, 1, 3)  # the channel exchanges 0 with 1 alone
    tables = planted_in(look_alike_noise, labels, positions)
    transition = 0.99 * look_alike_noise.transition + 0.01 / 5
    nobody = np.zeros(len(look_alike_noise.given), dtype=bool)
    found = calibrate(tables, None, transition, nobody.astype(float), nobody)
    assert found.stands[positions].mean() == pytest.approx(1)
    assert found.stands[positions][:50].min() > 5 * found.stands[positions][50:].max()
    assert (np.delete(found.stands, positions) == 1).all()


def test_what_neighbours_doubt_is_not_compared_with(uniform_noise: Noisy) -> None:
    positions = np.flatnonzero(~uniform_noise.wrong)[:100]
    tables = planted_in(uniform_noise, (uniform_noise.given[positions] + 1) % 5, positions)
    unsure = replace(tables, outside=tables.outside * 0, replayed=tables.replayed * 0)
    nobody = np.zeros(len(uniform_noise.given), dtype=bool)
    doubt = nobody.astype(float)
    alone = calibrate(unsure, None, uniform_noise.transition, doubt, nobody)
    beside = calibrate(unsure, uniform_noise.logs, uniform_noise.transition, doubt, nobody)
    wrong = uniform_noise.wrong
    assert beside.compared[wrong].mean() < 0.5
    assert alone.compared[wrong].mean() > 0.9
    assert beside.recovery["auditkit"] > alone.recovery["auditkit"]
