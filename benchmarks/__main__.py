"""All benchmarks, one after another: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import (
    leakage_features,
    leakage_influence,
    leakage_real,
    memorization_texts,
    memory,
    mislabel,
    real_input,
    truth,
)
from benchmarks.attribution import cost, lds, leakage
from benchmarks.leakage import __main__ as planted_leaks
from benchmarks.memorization import __main__ as memorization
from benchmarks.mirror import __main__ as mirror

SCRIPTS = (
    mislabel, memory, real_input, truth, lds, leakage, cost,
    planted_leaks, leakage_features, leakage_influence, leakage_real, memorization,
    memorization_texts, mirror,
)  # fmt: skip

for script in SCRIPTS:
    script.main([], standalone_mode=False)
