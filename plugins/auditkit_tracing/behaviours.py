"""What is asked: behaviours, each one query or a group of them that are unlearned together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditkit import Pool

if TYPE_CHECKING:
    from auditkit.showing import PoolName


_LONGEST = 90


def quoted(text: str) -> str:
    """A text in quotation marks, on one line and not too long."""
    flat = " ".join(text.split())
    return f"“{flat if len(flat) <= _LONGEST else flat[:_LONGEST] + '…'}”"


TOGETHER = "all queries"
"""What the behaviour is called that all queries are, where they are traced together."""


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        group: the behaviour it belongs to.
        says: the query in words, as the report shows it.
        probability: the probability the model gives the behaviour here.
        per_token: for texts, the geometric mean over the completion's tokens; None elsewhere.
        prompt: what a language model is given.
        completion: what it writes then.
        written: whether the model itself wrote the completion.
        shown: the pool and id of the example the query is; None where it is in no pool.
    """

    group: str
    says: str
    probability: float
    per_token: float | None = None
    prompt: str | None = None
    completion: str | None = None
    written: bool = False
    shown: tuple[PoolName, str] | None = None


@dataclass(frozen=True)
class Asked:
    """Everything that is asked in one run.

    Attributes:
        pool: the queries as the engine takes them.
        queries: what is known of each, in the pool's order.
    """

    pool: Pool
    queries: Sequence[Query]

    @property
    def groups(self) -> list[str]:
        """The behaviour of each query."""
        return [query.group for query in self.queries]

    @property
    def behaviours(self) -> Mapping[str, list[Query]]:
        """The queries of each behaviour, in the order in which scores have them."""
        found: dict[str, list[Query]] = {}
        for query in self.queries:
            found.setdefault(query.group, []).append(query)
        return found

    def itself(self, group: str) -> set[str]:
        """Ids of the training examples that are queries of a behaviour."""
        own = self.behaviours[group]
        return {query.shown[1] for query in own if query.shown and query.shown[0] == "train"}
