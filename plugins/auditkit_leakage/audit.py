"""Which evaluation examples were in the training set? The audit: search, judge, ask the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from auditkit import Audit, AuditContext, AuditResult, InfluenceSettings, Requirements, Section
from auditkit.errors import PoolError

FEWEST = 2


class LeakageSettings(InfluenceSettings):
    """What can be set on the leakage audit."""

    response: ClassVar[Literal["finite", "first-order"]] = "first-order"

    threshold: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Probability of being a leak from which on an evaluation example is flagged.",
    )
    whole: bool = Field(
        default=False,
        description="Ask the model about every evaluation example and the whole train pool, not "
        "about likely pairs only: one pass of gradients for every few examples.",
    )


class LeakageAudit(Audit[LeakageSettings]):
    """Every evaluation example, compared with the whole train pool.

    Without an evaluation set, or where it is the train pool itself, every training example is
    compared with the rest: the duplicates within the training set.
    """

    name = "leakage"
    title = "Leaked evaluation examples"
    question = (
        "Which evaluation examples were in the training set, and what do they do to the metric?"
    )
    fail_on = "estimated share of evaluation examples that leaked"
    requirements = Requirements(
        queries="optional", second="evaluation", model="optional", labels="optional"
    )
    judged = "queries"
    settings = LeakageSettings

    def audit(self, context: AuditContext[LeakageSettings]) -> AuditResult:
        """Search, judge by what is measured in the run, ask the model about the pairs.

        Raises:
            PoolError: a train pool of one example, or examples that cannot be compared.
            UsageError: two pools that cannot share examples.
        """
        from auditkit_leakage import asking, evidence, results  # noqa: PLC0415 - heavy, for `--help`

        train, queries = context.subject.train, context.subject.queries
        if len(train) < FEWEST:
            raise PoolError(
                f"The train pool holds {len(train)} example: expected at least {FEWEST}, so that "
                "it can be said how near examples are that are not copies; give the whole of what "
                "the model was trained on."
            )
        ours, theirs = evidence.contents(train, queries)
        if queries is not None and theirs is None:
            context.note(
                "The evaluation set is the train pool itself: every training example is compared "
                "with the others.",
                level="warning",
            )
            queries = None
        found = evidence.gather(ours, theirs, seed=context.seed, progress=context.progress)
        judgement = found.judged(seed=context.seed)
        opinion = (
            asking.ask(
                context,
                train if queries is None else queries,
                nearest=found.best.train,
                probability=judgement.probability,
            )
            if context.has_model
            else None
        )
        return results.result(context, queries, found, judgement, opinion)

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """The pairs, the metric, the duplicates in the train pool, and how far to trust it."""
        from auditkit_leakage import sections  # noqa: PLC0415 - draws, which an audit need not

        return sections.sections(result)
