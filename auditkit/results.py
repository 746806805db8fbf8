"""What an audit returns: findings, the answer, and what the reader must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, Union

import polars as pl
from pydantic import BaseModel, ConfigDict

from auditkit.findings import Findings
from auditkit.showing import PoolName

Number: TypeAlias = Union[float, int, str, bool, None]

Given: TypeAlias = Union[Number, tuple[str, ...]]
"""What a setting may be given: one value, or several texts."""


class Note(BaseModel):
    """A visible line of the report: a fact the reader needs, or a warning."""

    model_config = ConfigDict(frozen=True)

    level: Literal["info", "warning"]
    text: str


class SelfCheck(BaseModel):
    """Whether training examples, as queries, find themselves: a gate, not an objective.

    `top1` and `top5` are the shares of `queries` whose own score is the highest, or among the five
    highest, of `candidates` examples.
    """

    model_config = ConfigDict(frozen=True)

    queries: int
    candidates: int
    top1: float
    top5: float

    @property
    def passed(self) -> bool:
        """Whether at least half of the queries find themselves first."""
        return self.top1 >= 0.5


@dataclass(frozen=True)
class AuditResult:
    """What an audit found; all of it is stored with the run.

    Attributes:
        findings: one row per example judged.
        answer: the answer to the audit's question, in one sentence.
        rate: the share of examples the claim is estimated to be true of, for `--fail-on`.
        summary: the numbers behind the answer, by name.
        notes: what the reader must know: what could not be used, where a baseline does better.
        tables: further frames by name, for sections and for other programs.
        self_check: how the engine did on training examples as queries, if it was asked.
        judged: which pool's examples the findings name, where that is not what the class says.
    """

    findings: Findings
    answer: str
    rate: float
    summary: Mapping[str, Number] = field(default_factory=dict)
    notes: Sequence[Note] = ()
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    self_check: SelfCheck | None = None
    judged: PoolName | None = None
