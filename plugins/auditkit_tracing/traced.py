"""All that was measured in a run, and what of it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit import in_units
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.chance import Chance
from auditkit_tracing.confirm import Order
from auditkit_tracing.judging import Judged
from auditkit_tracing.measuring import Examples, Measured
from auditkit_tracing.settings import Context

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Traced:
    """All that was measured in a run.

    Attributes:
        context: of the audit.
        asked: what was asked.
        whole: the whole training examples.
        found: readings, [behaviour, example].
        judged: how far they stand out.
        chance: what other behaviours gave; None where none was traced.
        retrieved: by method, how well each example matches each behaviour.
        values: the group of each example, where groups are compared.
    """

    context: Context
    asked: Asked
    whole: Examples
    found: Measured
    judged: Judged
    chance: Chance | None
    retrieved: Mapping[str, Floats]
    values: list[str] | None


def flags(traced: Traced) -> Bools:
    """Whether an example stands out as a proponent, [behaviour, example]."""
    probability = traced.judged.score.probability
    if probability is None:
        return np.zeros(traced.found.score.shape, dtype=bool)
    found: Bools = (probability >= traced.context.settings.threshold) & traced.found.proponent
    return found


def pulls(traced: Traced) -> Floats:
    """Influences in units of their spread, of the query itself their middle, [behaviour, example].

    Unlike scores that put two readings together, they may be averaged: one strong example weighs as
    much as many weak ones of the same sum.
    """
    others = ~traced.found.itself
    found: Floats = np.where(others, in_units(traced.found.influence, others), 0.0)
    return found


def order(traced: Traced) -> Order:
    """Examples in the order in which they are to be left out."""
    return Order(
        proponents=np.argsort(-traced.found.score, axis=1, kind="stable"),
        retrieved={
            name: np.argsort(-values, axis=1, kind="stable")
            for name, values in traced.retrieved.items()
        },
        barred=traced.found.itself,
    )
