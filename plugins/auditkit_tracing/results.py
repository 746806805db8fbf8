"""From what was measured and judged to findings, tables and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import AuditResult, Findings, SelfCheck
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.chance import Chance
from auditkit_tracing.confirm import Order
from auditkit_tracing.groups import SIGNIFICANT
from auditkit_tracing.judging import Judged
from auditkit_tracing.measuring import Examples, Measured
from auditkit_tracing.retrieval import BM25, EMBEDDING, ranks
from auditkit_tracing.settings import Context

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PROPONENT, OPPONENT = "proponent", "opponent"

_BINS = 40

OVERLAP = 10
"""Among so many first ones of each, the overlap of influence and retrieval is counted."""

_RANKS = {BM25: "bm25_rank", EMBEDDING: "embedding_rank"}


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
    values: Sequence[str] | None

    @property
    def itself(self) -> Bools:
        """Whether an example is the query itself, [behaviour, example]."""
        train = self.context.subject.train
        found = np.zeros(self.found.score.shape, dtype=bool)
        for row, group in enumerate(self.asked.behaviours):
            for id_ in self.asked.itself(group):
                found[row, self.whole.of[train.positions([id_])]] = True
        return found


def flags(traced: Traced) -> Bools:
    """Whether an example stands out as a proponent, [behaviour, example]."""
    probability = traced.judged.score.probability
    if probability is None:
        return np.zeros(traced.found.score.shape, dtype=bool)
    enough = probability >= traced.context.settings.threshold
    found: Bools = enough & (traced.found.score > 0) & ~traced.itself
    return found


def of_others(traced: Traced) -> Floats:
    """Scores in units of their spread, of the query itself their middle, [behaviour, example]."""
    found: Floats = np.where(traced.itself, 0.0, traced.judged.score.units)
    return found


def order(traced: Traced) -> Order:
    """Examples in the order in which they are to be left out."""
    return Order(
        proponents=np.argsort(-traced.found.score, axis=1, kind="stable"),
        retrieved={
            name: np.argsort(-values, axis=1, kind="stable")
            for name, values in traced.retrieved.items()
        },
        barred=traced.itself,
    )


def rows(traced: Traced) -> pl.DataFrame:
    """The findings that are kept: proponents and opponents of each behaviour, a row each."""
    made: list[dict[str, object]] = []
    itself, keep = traced.itself, traced.context.settings.keep
    places = {name: ranks(values) for name, values in traced.retrieved.items()}
    for row, group in enumerate(traced.asked.behaviours):
        score, change = traced.found.score[row], traced.found.change[row]
        for role, strength, standing, window in (
            (PROPONENT, score, traced.judged.score, traced.found.window),
            (OPPONENT, -change, traced.judged.change, traced.found.against),
        ):
            outside = standing.units[row] * (1 if role == PROPONENT else -1) > 0
            eligible = np.flatnonzero((strength > 0) & outside & ~itself[row])
            order_ = eligible[np.argsort(-strength[eligible], kind="stable")][:keep]
            taken = {one["whole"] for one in made if one["query_id"] == group}
            best = [own for own in order_.tolist() if own not in taken]
            for place, own in enumerate(best, start=1):
                likely = standing.probability
                made.append(
                    {
                        "whole": own,
                        "example_id": traced.context.subject.train.ids[int(window[row, own])],
                        "score": float(standing.units[row, own]),
                        "probability": None if likely is None else float(likely[row, own]),
                        "query_id": group,
                        "role": role,
                        "place": place,
                        "influence": float(score[own]),
                        "loss_change": float(change[own]),
                        **{_RANKS[name]: int(rank[row, own]) for name, rank in places.items()},
                        **({} if traced.values is None else {"group": traced.values[own]}),
                        **(
                            {"document_id": traced.whole.ids[own]}
                            if traced.whole.in_windows
                            else {}
                        ),
                    }
                )
    return pl.DataFrame(made, schema=_schema(traced), infer_schema_length=None)


def _schema(traced: Traced) -> dict[str, pl.DataType]:
    """The columns of what is kept; the first four are not the audit's own."""
    return {
        "whole": pl.Int64(),
        "example_id": pl.String(),
        "score": pl.Float64(),
        "probability": pl.Float64(),
        "query_id": pl.String(),
        "role": pl.String(),
        "place": pl.Int64(),
        "influence": pl.Float64(),
        "loss_change": pl.Float64(),
        **{_RANKS[name]: pl.Int64() for name in traced.retrieved},
        **({} if traced.values is None else {"group": pl.String()}),
        **({"document_id": pl.String()} if traced.whole.in_windows else {}),
    }


def behaviours(traced: Traced) -> pl.DataFrame:
    """What was asked and how it was answered: a row per query."""
    flagged, position = flags(traced), ranks(traced.found.score)
    overlaps = {
        name: ((ranks(values) <= OVERLAP) & (position <= OVERLAP)).sum(axis=1)
        for name, values in traced.retrieved.items()
    }
    made = []
    for row, (group, queries) in enumerate(traced.asked.behaviours.items()):
        for query in queries:
            made.append(
                {
                    "query_id": group,
                    "says": query.says,
                    "prompt": query.prompt,
                    "completion": query.completion,
                    "written_by_model": query.written,
                    "probability": query.probability,
                    "probability_per_token": query.per_token,
                    "shown_pool": None if query.shown is None else query.shown[0],
                    "shown_id": None if query.shown is None else query.shown[1],
                    "flagged": int(flagged[row].sum()),
                    **{
                        f"shared_with_{name}": int(overlaps[name][row])
                        if name in overlaps
                        else None
                        for name in (BM25, EMBEDDING)
                    },
                }
            )
    return pl.DataFrame(
        made,
        infer_schema_length=None,
        schema_overrides={
            "prompt": pl.String(), "completion": pl.String(), "probability_per_token": pl.Float64(),
            "shown_pool": pl.String(), "shown_id": pl.String(),
            **{f"shared_with_{name}": pl.Int64() for name in (BM25, EMBEDDING)},
        },
    )  # fmt: skip


def spread(traced: Traced) -> pl.DataFrame:
    """How many examples have which score, and how many by chance: a row per behaviour and bin."""
    made = []
    chance = traced.chance.score if traced.chance is not None else np.zeros(0)
    for group, units in zip(traced.asked.behaviours, traced.judged.score.units, strict=True):
        both = np.concatenate([units, chance])
        edges = np.linspace(both.min(), both.max() + 1e-9, _BINS + 1)
        counts = np.histogram(units, edges)[0]
        expected = np.histogram(chance, edges)[0] * len(units) / max(len(chance), 1)
        for place in range(_BINS):
            made.append(
                {
                    "query_id": group,
                    "from": float(edges[place]),
                    "to": float(edges[place + 1]),
                    "examples": int(counts[place]),
                    "by_chance": float(expected[place]),
                }
            )
    return pl.DataFrame(made)


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
    if traced.itself.any():
        context.note(
            "Queries that are training examples are not counted among their own proponents."
        )


def _answer(traced: Traced, kept: pl.DataFrame, flagged: Bools, groups: pl.DataFrame | None) -> str:
    asked = traced.asked.behaviours
    if len(asked) > 1:
        count = int(flagged.any(axis=1).sum())
        if not count:
            return (
                f"None of the {len(asked):,} behaviours can be laid to few training examples: none "
                "stands out from chance for any of them."
            )
        return (
            f"Training examples stand out for {count:,} of {len(asked):,} behaviours: "
            f"{int(flagged.sum()):,} proponents in all."
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
