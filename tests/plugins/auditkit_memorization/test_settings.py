from __future__ import annotations

import pytest
from auditkit_memorization.settings import MemorizationSettings


@pytest.mark.parametrize(("count", "epochs"), [(100_000, 4), (10_000, 4), (2_000, 16), (20, 60)])
def test_replays_make_enough_steps(count: int, epochs: int) -> None:
    assert MemorizationSettings().replay_epochs(count, 64) == pytest.approx(epochs, abs=1)
    assert MemorizationSettings(epochs=3).replay_epochs(count, 64) == 3
