"""Which labels are wrong? The audit: measure by `holdout`, judge, and put into words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from auditkit import (
    Audit,
    AuditContext,
    AuditResult,
    ClassTables,
    Findings,
    Holdout,
    Pool,
    Requirements,
    Section,
    Settings,
)
from auditkit.errors import LabelError, TaskError
from auditkit_mislabel import baselines
from auditkit_mislabel.judgement import Judgement, judge
from auditkit_mislabel.neighbours import ASKED
from auditkit_mislabel.planting import Planting

BUDGETS = (20, 100, 500)
"""Review budgets for which the report says how many findings are expected to be real."""

_BETTER = 0.02

_MOST_DOUBTFUL = 0.5
"""The share of doubtful labels above which no second replay is made without them."""

_KEEP = 0.2
"""What the first holdout keeps of the trained weights; more ranks a little better where labels are
memorized, and counts too few of them, since the replays still know them."""

_KEEP_AGAIN = 0.3
"""What the second holdout keeps of the trained weights: it ranks and need not count."""

_STEPS = 250
"""Optimizer steps that a replay needs to know the classes: below, doubt is taken for errors."""

_EPOCHS = (5, 12)
"""The fewest and the most epochs of a replay where the setting leaves it to the audit."""


class MislabelSettings(Settings):
    """What can be set on the mislabel audit."""

    thorough: bool = Field(
        default=False,
        description="Replay a second time without the doubtful labels: a better ranking for about "
        "twice the time.",
    )
    folds: int = Field(default=5, ge=2, description="Into how many parts the data is held out.")
    epochs: int = Field(
        default=0,
        ge=0,
        description="Epochs of replay per fold; 0 for as many as make 250 steps, five to twelve.",
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Probability of being wrong from which on a label is flagged.",
    )

    def replay_epochs(self, count: int, batch_size: int) -> int:
        """Epochs of replay per fold for a pool of `count`: as set, or what makes enough steps."""
        if self.epochs:
            return self.epochs
        steps = count * (1 - 1 / self.folds) / batch_size
        return int(np.clip(round(_STEPS / steps), *_EPOCHS))


class MislabelAudit(Audit[MislabelSettings]):
    """Every label of the train pool, judged out of sample.

    Queries, where the subject has them, are a trusted set: examples whose labels are known to be
    right. They are replayed and held out with the others and calibrate the probabilities.
    """

    name = "mislabel"
    title = "Wrong labels"
    question = "Which labels are wrong?"
    fail_on = "estimated share of wrong labels"
    requirements = Requirements(likelihood="categorical", queries="optional", second="trusted")
    settings = MislabelSettings

    def audit(self, context: AuditContext[MislabelSettings]) -> AuditResult:
        """Hold out, judge, compare with the baselines.

        Raises:
            LabelError: fewer than two classes among the labels, or not one name per class.
        """
        settings, train = context.settings, context.subject.train
        extra = context.subject.queries
        pool = train if extra is None else train.joined(extra)
        trusted = np.arange(len(pool)) >= len(train)
        epochs = settings.replay_epochs(len(pool), context.subject.recipe.batch_size)
        neighbours = _neighbours(context, pool)
        held = context.engine.holdout(
            pool,
            folds=settings.folds,
            epochs=epochs,
            keep=_KEEP,
            plant=Planting(seed=context.seed, among=len(train)),
            neighbours=neighbours,
        )
        tables = held.classes
        assert tables is not None  # noqa: S101 - a task with categorical outputs is required
        judged = judge(tables, neighbours=held.neighbours, trusted=trusted)
        doubtful = (judged.probability >= 0.5) & ~trusted
        if settings.thorough and doubtful.mean() > _MOST_DOUBTFUL:
            context.note(
                f"{doubtful.mean():.0%} of the labels are in doubt: too few are left to replay a "
                "second time without them, so the run was not thorough.",
                level="warning",
            )
        elif settings.thorough:
            again = context.engine.holdout(
                pool,
                folds=settings.folds,
                epochs=epochs,
                keep=_KEEP_AGAIN,
                untrained=doubtful,
                neighbours=neighbours,
                seed=context.seed + 1,
            )
            judged = judge(
                tables,
                neighbours=held.neighbours,
                again=again.classes,
                neighbours_again=again.neighbours,
                trusted=trusted,
            )
        _say_what_was_used(context)
        if neighbours and not judged.neighbours:
            context.note(
                "Labels of neighbours are not heard: in the features of the replayed models, most "
                "examples have none, or they name the given labels less often than the models "
                "themselves."
            )
        _warn_of_a_poor_model(context, tables)
        return _result(context, held, tables, judged)

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """How far to review, which classes are confused, how far to trust it."""
        from auditkit_mislabel import sections  # noqa: PLC0415 - draws, which an audit need not

        return sections.sections(result)


def _neighbours(context: AuditContext[MislabelSettings], pool: Pool) -> int:
    """How many neighbours to ask for: none, with a note, where the model has no features."""
    some = np.unique(np.linspace(0, len(pool) - 1, 4).astype(np.int64))
    try:
        context.engine.features(pool.subset(some))
    except TaskError as error:
        context.note(f"Labels of neighbours are not heard. {error}")
        return 0
    return ASKED


def _say_what_was_used(context: AuditContext[MislabelSettings]) -> None:
    """Notes on what the subject brought and the audit could or could not use."""
    subject = context.subject
    if subject.queries is not None:
        context.note(f"{len(subject.queries)} trusted examples calibrate the probabilities.")
    if subject.checkpoints:
        context.note(f"{len(subject.checkpoints)} checkpoints are heard beside the trained model.")


def _warn_of_a_poor_model(context: AuditContext[MislabelSettings], tables: ClassTables) -> None:
    """A warning where the replayed models cannot tell the classes apart."""
    agrees = float((tables.outside.argmax(axis=1) == tables.targets).mean())
    frequent = float(np.bincount(tables.targets).max() / len(tables.targets))
    if agrees < max(0.5, min(frequent, 0.9)):
        context.note(
            f"Out of sample the model agrees with only {agrees:.0%} of the labels (always naming "
            f"the commonest class would with {frequent:.0%}): what it takes for wrong labels may "
            "be its own mistakes; audit through a better model.",
            level="warning",
        )


def _result(
    context: AuditContext[MislabelSettings],
    held: Holdout,
    tables: ClassTables,
    judged: Judgement,
) -> AuditResult:
    train = context.subject.train
    count = len(train)
    names = _class_names(context, tables)
    probability = judged.probability[:count]
    flagged = probability >= context.settings.threshold
    beside = {name: score[:count] for name, score in baselines.baselines(held).items()}
    findings = Findings.ranked(
        train.ids,
        judged.score[:count],
        probability=probability,
        flagged=flagged,
        columns={
            "given_label": names[tables.targets[:count]],
            "suggested_label": names[judged.suggested[:count]],
            "training_loss": held.inside[:count].astype(np.float64),
            "loss_outside": held.outside[:count].astype(np.float64),
            **{
                name.replace(" ", "_"): score.astype(np.float64)
                for name, score in beside.items()
                if name == baselines.CONFIDENT
            },
        },
    )
    recovery = _recovery(context, held, tables, judged)
    wrong = float(probability.sum())
    return AuditResult(
        findings=findings,
        answer=_answer(wrong, int(flagged.sum()), count, context.settings.threshold),
        rate=wrong / count,
        summary={
            "estimated wrong labels": wrong,
            "flagged": int(flagged.sum()),
            "labels judged": count,
            "planted labels": 0 if tables.planted is None else len(tables.planted.positions),
            "weight of replayed loss": judged.calibration.weight,
            "neighbours heard": judged.neighbours,
            "weight of trained model": judged.trust,
        },
        tables={
            "budgets": _budgets(findings),
            "confusions": _confusions(findings),
            "recovery": recovery,
            "agreement": pl.DataFrame(
                list(baselines.agreement(flagged, beside).items()),
                schema={"baseline": pl.String(), "agreement": pl.Float64()},
                orient="row",
            ),
        },
    )


def _answer(wrong: float, flagged: int, count: int, threshold: float) -> str:
    if round(wrong) == 0 and not flagged:
        return f"None of the {count:,} labels looks wrong."
    claim = "more likely wrong than right" if threshold == 0.5 else f"flagged (from {threshold:g})"
    return (
        f"About {round(wrong):,} of {count:,} labels ({wrong / count:.1%}) are probably wrong, and "
        f"{flagged:,} {'is' if flagged == 1 else 'are'} {claim}."
    )


def _class_names(
    context: AuditContext[MislabelSettings], tables: ClassTables
) -> npt.NDArray[np.str_]:
    given = context.task.class_names
    classes = tables.inside.shape[1]
    if given is not None and len(given) != classes:
        raise LabelError(
            f"The task has {len(given)} class names and its outputs are of {classes} classes: give "
            "a name per class, in the order of the outputs."
        )
    return np.array([str(k) for k in range(classes)] if given is None else given)


def _budgets(findings: Findings) -> pl.DataFrame:
    """How many of the first findings are expected to be real."""
    probability = findings.frame["probability"].to_numpy()
    reviewed = [budget for budget in BUDGETS if budget <= len(probability)]
    return pl.DataFrame(
        {
            "reviewed": reviewed,
            "expected wrong": [float(probability[:budget].sum()) for budget in reviewed],
        },
        schema={"reviewed": pl.Int64(), "expected wrong": pl.Float64()},
    )


def _confusions(findings: Findings) -> pl.DataFrame:
    """Expected number of wrong labels by given and suggested label, most first."""
    return (
        findings.frame.group_by("given_label", "suggested_label")
        .agg(pl.col("probability").sum().alias("expected"))
        .rename({"given_label": "given", "suggested_label": "suggested"})
        .filter(pl.col("expected") >= 0.05)
        .sort("expected", "given", "suggested", descending=[True, False, False])
    )


def _recovery(
    context: AuditContext[MislabelSettings],
    held: Holdout,
    tables: ClassTables,
    judged: Judgement,
) -> pl.DataFrame:
    """How well each score finds the planted labels; a warning where a baseline does better."""
    found = dict(judged.calibration.recovery)
    if found and tables.planted is not None:
        found[baselines.CONFIDENT] = baselines.confident_recovery(
            held, tables.planted, judged.calibration.compared, judged.calibration.stands
        )
    better = [name for name in found if found[name] > found["auditkit"] + _BETTER]
    for name in better:
        context.note(
            f"On the labels planted in this run, {name} finds more (average precision "
            f"{found[name]:.2f} against {found['auditkit']:.2f}): review by it too.",
            level="warning",
        )
    return pl.DataFrame(
        list(found.items()),
        schema={"score": pl.String(), "average precision": pl.Float64()},
        orient="row",
    )
