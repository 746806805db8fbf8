"""The audit: examples that the model gets right only because it was trained on them."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
from pydantic import Field

from auditkit import (
    Audit,
    AuditContext,
    AuditResult,
    Figure,
    Findings,
    Requirements,
    Section,
    Settings,
)
from auditkit.errors import MissingOutputsError


class UnstableSettings(Settings):
    """Each field becomes an option of the command, `--folds` for example."""

    folds: int = Field(5, ge=2, description="Parts the data is cut into; each is held out once.")
    epochs: int = Field(4, ge=1, description="Epochs of replay on the other parts.")


class UnstableAudit(Audit[UnstableSettings]):
    """Compares every prediction with that of models that did not train on the example."""

    name = "unstable"
    title = "Predictions that rest on one example"
    question = "Which examples does the model get right only because it was trained on them?"
    fail_on = "share of examples whose right prediction is lost"
    requirements = Requirements(likelihood="categorical")
    settings = UnstableSettings

    def audit(self, context: AuditContext[UnstableSettings]) -> AuditResult:
        """Hold folds out, and flag what is predicted right inside and wrong outside."""
        settings = context.settings
        held = context.engine.holdout(folds=settings.folds, epochs=settings.epochs)
        if held.classes is None:  # the requirements above keep such subjects away
            raise MissingOutputsError("The task has no class outputs.")
        labels = held.classes.targets
        outside = held.classes.outside.argmax(axis=1)
        lost = (held.classes.inside.argmax(axis=1) == labels) & (outside != labels)
        names = context.subject.task.class_names
        predicted = [str(place) if names is None else names[place] for place in outside]
        return AuditResult(
            findings=Findings.ranked(
                held.ids,
                held.outside - held.inside,
                flagged=lost,
                columns={"predicted_outside": predicted},
            ),
            answer=f"{lost.sum()} of {len(lost)} right predictions are lost out of sample.",
            rate=float(lost.mean()),
            summary={"lost predictions": int(lost.sum())},
        )

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """A histogram of how much the loss rises when the example was not trained on."""
        chart = (
            alt.Chart(result.findings.frame.select("score"))
            .mark_bar()
            .encode(alt.X("score:Q", title="rise of the loss").bin(maxbins=40), y="count()")
        )
        caption = "Examples far to the right were learnt by heart."
        return [Section(title="How much is lost", figures=[Figure(chart, caption)])]
