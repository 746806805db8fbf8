"""Do the two directions of influence agree on this model? The audit, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

from auditkit import Audit, AuditContext, AuditResult, Requirements, Section
from auditkit.errors import DataError, PoolError
from auditkit_mirror.convex import fit
from auditkit_mirror.judging import judged
from auditkit_mirror.measured import Measured, MirrorSettings
from auditkit_mirror.network import NetworkStudy, network_study, seconds_per_example
from auditkit_mirror.plan import Plan, in_words, kept_plan, make_plan, measured_flops
from auditkit_mirror.probe import Material, make_probe, read_material
from auditkit_mirror.study import Asked, convex_mirror, highest_loss


class MirrorAudit(Audit[MirrorSettings]):
    """The Mirrored Influence Hypothesis, put to the test on the subject's own model.

    Queries, where the subject has them, ask; else a part of the train pool does.
    """

    name = "mirror"
    title = "The mirror"
    question = "Does a training example influence a query as the query would influence the example?"
    fail_on = (
        "one minus the lower of the mean Pearson correlations of the two directions, on the linear "
        "model and on groups"
    )
    requirements = Requirements(queries="optional", second="evaluation")
    settings = MirrorSettings

    def audit(self, context: AuditContext[MirrorSettings]) -> AuditResult:
        """Plan, retrain a linear model without each example, retrain the model without groups.

        Raises:
            DataError: the budget is too small for anything, or the data cannot be judged.
            MissingOutputsError: the task has no outputs.
        """
        material = read_material(context.engine, context.subject.queries)
        work = context.work()
        plan = kept_plan(work / "plan.json", lambda: _plan(context, material))
        context.say(plan.sentence)
        probe = make_probe(
            material, rows=plan.rows, decay=context.settings.decay, seed=context.seed
        )
        for note in probe.notes:
            context.note(note)
        optimum = fit(probe.problem)
        chosen = highest_loss(optimum, probe.candidates, context.settings.queries)
        asked = Asked(probe.candidates.inputs[chosen], probe.candidates.targets[chosen])
        mirror = convex_mirror(
            optimum, asked, others=probe.candidates, folder=work / "convex",
            progress=context.progress,
        )  # fmt: skip
        network = _network(context, material, plan)
        measured = Measured(material, probe, optimum, asked, mirror, network, plan)
        return judged(context, measured)

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """Whether they agree, by which formulas, with which settings, and what is missing."""
        from auditkit_mirror import sections  # noqa: PLC0415 - draws, which an audit need not

        return sections.sections(result)


def _plan(context: AuditContext[MirrorSettings], material: Material) -> Plan:
    columns = 1 if material.kind == "logistic" else material.classes
    return make_plan(
        budget=context.settings.budget,
        examples=len(context.subject.train),
        features=material.width,
        columns=columns,
        flops=measured_flops(),
        epoch=lambda: seconds_per_example(context.subject),
        epochs=context.subject.recipe.epochs,
    )


def _network(
    context: AuditContext[MirrorSettings], material: Material, plan: Plan
) -> NetworkStudy | None:
    """The noisy study, where the plan has one; a note says why it is missing."""
    if not plan.group_rows:
        context.note(
            "The model itself was not retrained without groups of examples: "
            + (plan.reason or f"that takes a budget of {in_words(60 * plan.more_minutes)} or more.")
        )
        return None
    try:
        return network_study(
            context.subject,
            material.targets,
            plan,
            seed=context.seed,
            folder=context.work() / "network",
            progress=context.progress,
        )
    except PoolError as error:
        context.note(f"The model was not retrained without groups of examples: {error}")
    except DataError as error:
        context.note(f"Retraining without groups of examples failed: {error}", level="warning")
    return None
