"""All benchmarks, one after another: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import memory, mislabel, real_input
from benchmarks.attribution import cost, lds, leakage

for script in (mislabel, memory, real_input, lds, leakage, cost):
    script.main([], standalone_mode=False)
