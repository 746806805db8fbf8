"""All benchmarks, one after another: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import memory, mislabel, real_input, truth
from benchmarks.attribution import cost, lds, leakage
from benchmarks.leakage import __main__ as planted_leaks
from benchmarks.mirror import __main__ as mirror

for script in (mislabel, memory, real_input, truth, lds, leakage, cost, mirror, planted_leaks):
    script.main([], standalone_mode=False)
