"""All benchmarks, one after another: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import memory, mislabel, real_input, truth

mislabel.main(standalone_mode=False)
memory.main(standalone_mode=False)
real_input.main(standalone_mode=False)
truth.main(standalone_mode=False)
