"""The answer in one sentence, and the notes on what cannot be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from auditkit import AuditContext, Pool
from auditkit_leakage import metric
from auditkit_leakage.evidence import Evidence
from auditkit_leakage.judgement import Judgement

if TYPE_CHECKING:
    from auditkit_leakage.audit import LeakageSettings

Context: TypeAlias = "AuditContext[LeakageSettings]"

_POORLY = 0.8
"""A kind of planted copy that is found more seldom than this is warned of."""

_UNKNOWN = "; there are too few examples to judge altered copies"


def sentence(
    found: Evidence, judgement: Judgement, compared: metric.Compared | None, *, alone: bool
) -> str:
    """How many have leaked, and what they do to the metric.

    Args:
        found: what the search found.
        judgement: probabilities.
        compared: the metric with and without the flagged; None where there is none.
        alone: whether the train pool was compared with itself.
    """
    total, leaked = len(judgement.probability), round(judgement.count)
    judged = "training" if alone else "evaluation"
    if not leaked:
        return f"None of the {total:,} {judged} examples {_clean(found, judgement, alone=alone)}."
    what = (
        f"About {leaked:,} of {total:,} {judged} examples ({judgement.count / total:.1%}) "
        f"{_known_to(leaked, alone=alone)}"
        f"{', as identical content shows' if judgement.unknown else ''}"
    )
    if compared is not None and compared.clean is not None:
        shown = "{:.1%}" if compared.name == metric.ACCURACY else "{:.4g}"
        what += (
            f": {compared.name} is {shown.format(compared.whole)} with those flagged and "
            f"{shown.format(compared.clean)} without"
        )
    return what + (_UNKNOWN if judgement.unknown else "") + "."


def _known_to(leaked: int, *, alone: bool) -> str:
    if alone:
        return f"{'has' if leaked == 1 else 'have'} a copy in the train pool"
    return f"{'was' if leaked == 1 else 'were'} in the training set"


def _clean(found: Evidence, judgement: Judgement, *, alone: bool) -> str:
    """What none of the examples is, as far as is known."""
    if judgement.mixture.ratio is not None:
        return "looks like a copy of another" if alone else "looks as if it had been trained on"
    by_chance = ", except by chance" if found.best.identical.any() else ""
    same = "another" if alone else "a training example"
    return f"is identical to {same}{by_chance}{_UNKNOWN}"


def warn(context: Context, found: Evidence, judgement: Judgement, queries: Pool | None) -> None:
    """Notes on what cannot be told, and on what fits badly.

    Args:
        context: of the run; gets the notes.
        found: what the search found.
        judgement: probabilities.
        queries: the evaluation set; None where the train pool was compared with itself.
    """
    chance = int((found.best.identical & found.poor).sum())
    if chance and queries is None:
        context.note(
            f"{chance:,} examples are identical to another one, and hold so little (few cells, few "
            "words or one colour) that this may be chance: the duplicates among them need not be "
            "copies.",
            level="warning",
        )
    elif chance:
        context.note(
            f"{chance:,} examples are identical to a training example, and hold so little (few "
            "cells, few words or one colour) that this happens by chance: as often as examples "
            f"coincide within the train pool, such a pair is a leak with a probability of "
            f"{found.beyond_chance:.2f}.",
            level="warning",
        )
    if judgement.mixture.ratio is None:
        context.note(
            "There are too few examples to measure how near copies and strangers lie: only "
            "identical content was judged, and the probability of every other pair is unknown.",
            level="warning",
        )
    poor = found.recovery.filter(pl.col("found") < _POORLY)
    if poor.height:
        kinds = ", ".join(f"{row['kind']} ({row['found']:.0%})" for row in poor.rows(named=True))
        context.note(
            f"Of the copies planted in this run, some kinds were found again too seldom: {kinds}. "
            "Real leaks of these kinds are missed as often.",
            level="warning",
        )
    if queries is not None and found.within is None:
        context.note(
            "The train pool is large: how near its examples lie was measured on a sample, and "
            "duplicates within it are the identical ones only."
        )
