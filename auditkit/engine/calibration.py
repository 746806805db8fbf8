"""Whether the engine's settings suit this model: the self-check."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from auditkit.audit import SelfCheck
from auditkit.pool import Pool
from auditkit.scores import Scores
from auditkit.seeds import stream


def self_check(
    influence: Callable[[Pool, Pool], Scores],
    train: Pool,
    queries: int,
    candidates: int,
    *,
    seed: int,
) -> SelfCheck:
    """Score a sample of training examples against a sample that holds them all.

    Args:
        influence: from (queries, pool) to scores.
        train: the train pool.
        queries: how many training examples to ask about.
        candidates: how many to score, the queries among them.
        seed: for both samples.
    """
    chosen = stream(seed, "self-check").permutation(len(train))[:candidates]
    asked = chosen[:queries]
    values = influence(train.subset(asked), train.subset(chosen)).values
    own = values[np.arange(len(asked)), np.arange(len(asked))]
    # Ties, with itself left out, count half: else scores that are all alike would pass.
    ties = (values == own[:, None]).sum(axis=1) - 1
    better = (values > own[:, None]).sum(axis=1) + ties / 2
    return SelfCheck(
        queries=len(asked),
        candidates=len(chosen),
        top1=float((better < 1).mean()),
        top5=float((better < 5).mean()),
    )
