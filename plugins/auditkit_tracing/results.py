"""From what was measured and judged to findings and the answer."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from auditkit import AuditResult, Findings, SelfCheck
from auditkit_tracing.groups import SIGNIFICANT
from auditkit_tracing.tables import PROPONENT
from auditkit_tracing.traced import Bools, Traced, flags


def result(
    traced: Traced,
    kept: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    check: SelfCheck,
) -> AuditResult:
    """Findings, the answer and the numbers behind it."""
    flagged = flags(traced)
    stands_out = flagged.any(axis=1)
    threshold = traced.context.settings.threshold
    own = [
        name for name in kept.columns if name not in ("whole", "example_id", "score", "probability")
    ]
    likely = kept["probability"]
    findings = Findings.ranked(
        kept["example_id"].to_list(),
        kept["score"].to_numpy(),
        probability=None if likely.is_null().all() else likely.to_numpy(),
        flagged=(likely.fill_null(0.0) >= threshold).to_numpy(),
        columns={name: kept[name] for name in own},
    )
    _notes(traced, check)
    count = len(traced.asked.behaviours)
    return AuditResult(
        findings=findings,
        answer=_answer(traced, kept, flagged, tables.get("groups")),
        rate=float(stands_out.mean()),
        summary={
            "behaviours": count,
            "of them with training examples that stand out": int(stands_out.sum()),
            "flagged proponents": int(flagged.sum()),
            "training examples": len(traced.whole),
            "threshold": threshold,
            "queries": len(traced.asked.queries),
            "decoys traced for chance": 0 if traced.chance is None else traced.chance.behaviours,
            "training examples scored for each decoy": 0
            if traced.chance is None
            else traced.chance.examples,
        },
        tables=tables,
        self_check=check,
    )


def _notes(traced: Traced, check: SelfCheck) -> None:
    context, chance = traced.context, traced.chance
    if chance is None or chance.behaviours == 0:
        context.note(
            "No decoys were traced (--decoys), so it is not known what scores training "
            "examples have by chance: nothing is flagged, and there are no probabilities.",
            level="warning",
        )
    if not check.passed:
        context.note(
            "Training examples as queries do not find themselves (self-check), so what is traced "
            "here is not to be trusted.",
            level="warning",
        )
    if traced.found.itself.any():
        context.note(
            "Queries that are training examples are not counted among their own proponents."
        )


def _answer(traced: Traced, kept: pl.DataFrame, flagged: Bools, groups: pl.DataFrame | None) -> str:
    asked = traced.asked.behaviours
    if len(asked) > 1:
        count, number = int(flagged.any(axis=1).sum()), int(flagged.sum())
        if not count:
            return (
                f"None of the {len(asked):,} behaviours can be laid to few training examples: none "
                "stands out from chance for any of them."
            )
        return (
            f"Training examples stand out for {count:,} of {len(asked):,} behaviours: "
            f"{number:,} proponent{'' if number == 1 else 's'} in all."
        )
    [queries] = asked.values()
    what = "This" if len(queries) > 1 else f"That {queries[0].says}"
    first = kept.filter(pl.col("role") == PROPONENT)["example_id"].head(3).to_list()
    if not first:
        return f"{what} was taught by no training example: none is a proponent."
    number = int(flagged.sum())
    if not number:
        return (
            f"{what} cannot be laid to few training examples: of {len(traced.whole):,}, none "
            f"stands out from chance; the strongest is {first[0]}."
        )
    named = first[:number]
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    answer = f"{what} was taught above all by {listed}"
    answer += (
        f"; {number:,} of {len(traced.whole):,} training examples stand out from chance."
        if number > len(named)
        else ", the only training " + ("example" if number == 1 else "examples") + " to stand out."
    )
    return answer + _source(groups)


def _source(groups: pl.DataFrame | None) -> str:
    """The group that taught the behaviour above all, if one did."""
    if groups is None or not groups.height or groups["q"][0] > SIGNIFICANT:
        return ""
    return f" Of the groups compared, {groups['group'][0]} taught it above all."
