"""All benchmarks of attribution: `python -m benchmarks.attribution`."""

from __future__ import annotations

from benchmarks.attribution import cost, lds, leakage

for script in (lds, leakage, cost):
    script.main([], standalone_mode=False)
