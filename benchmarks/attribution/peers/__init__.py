"""Other libraries' methods, each behind the same small face: a `Case` in, scores out.

Every library gets the same trained networks, whole data sets, one thread and float32. Where it
documents several settings, a few are tried and tables show the best of them, which is in its
favour: a user does not know which is best. Where it takes one model only, the scores of several
are averaged here.
"""

from __future__ import annotations

from benchmarks.attribution.case import Method
from benchmarks.attribution.peers import baselines, captum, dattri, kronfluence, trak

METHODS: tuple[Method, ...] = (
    *baselines.METHODS,
    *captum.METHODS,
    *dattri.METHODS,
    *trak.METHODS,
    *kronfluence.METHODS,
)
