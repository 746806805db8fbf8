from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from auditkit_mislabel.baselines import CONFIDENT, baselines

from auditkit import ClassTables, Holdout
from tests.plugins.auditkit_mislabel.conftest import Noisy


def held(noisy: Noisy) -> Holdout:
    logs = noisy.logs.astype(np.float32)
    losses = -logs[np.arange(len(logs)), noisy.given]
    return Holdout(
        ids=tuple(str(place) for place in range(len(logs))),
        inside=losses,
        outside=losses,
        replayed=losses,
        folds=np.zeros((1, len(logs)), dtype=np.int64),
        classes=ClassTables(targets=noisy.given, inside=logs, outside=logs, replayed=logs),
    )


def test_confident_learning_is_cleanlabs_normalized_margin(uniform_noise: Noisy) -> None:
    rank = pytest.importorskip("cleanlab.rank")
    quality = rank.get_label_quality_scores(
        uniform_noise.given, np.exp(uniform_noise.logs), method="normalized_margin"
    )
    ours = baselines(held(uniform_noise))[CONFIDENT]
    np.testing.assert_allclose(ours, -quality, atol=1e-5)


def test_an_audit_imports_nothing_that_outweighs_it() -> None:
    heavy = ("sklearn", "pandas", "altair", "cleanlab", "vl_convert")
    code = (
        "import sys, auditkit_mislabel.audit as audit; audit.MislabelAudit; "
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
