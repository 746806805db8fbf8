"""Which training images shaped this generated image? The audit: measure, judge, put into words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from auditkit import Audit, AuditResult, Requirements, Scores, Section
from auditkit_diffusion import measuring
from auditkit_diffusion.judging import Judged, judged
from auditkit_diffusion.measuring import Draws, Table
from auditkit_diffusion.neighbours import nearness
from auditkit_diffusion.recurring import recurring
from auditkit_diffusion.settings import Context, DiffusionSettings


class DiffusionAudit(Audit[DiffusionSettings]):
    """Each generated image unlearned: which training images does the model lose with it?"""

    name = "diffusion"
    title = "Behind generated images"
    question = "Which training images shaped this generated image?"
    fail_on = "share of generated images that lean on single training images"
    requirements = Requirements(queries="required", diffusion=True)
    settings = DiffusionSettings

    def audit(self, context: Context) -> AuditResult:
        """Choose the draws, check, score, compare with neighbours and other noises, and judge.

        Raises:
            UsageError: the subject's task is none of a diffusion model.
            StepError: a generated image cannot be unlearned.
        """
        measuring.denoising(context)
        train, queries = context.subject.train, measuring.asked(context)
        draws = measuring.choose_draws(context)
        _say_how_long(context, draws)
        engine = measuring.engine_of(context, draws.count)
        check = measuring.reference(context, engine)
        scores = engine.influence(queries)
        together = None
        if len(queries) > 1:
            groups = [measuring.GROUP] * len(queries)
            together = engine.influence(queries, groups=groups).values.astype(np.float64)
        standing = measuring.standings(scores.values.astype(np.float64))
        kept = _kept(standing, scores.values, context.settings.kept)
        first = [np.argsort(-row, kind="stable")[: measuring.FIRST] for row in standing]
        looked_at = {
            int(place) for row in (*kept, *(own.tolist() for own in first)) for place in row
        }
        again = measuring.stability(context, draws.count, looked_at)
        found = judged(
            context, scores, standing, kept=kept, check=check, again=again, near=nearness(context)
        )
        if not check.check.passed:
            context.note(
                f"Only {check.check.top1:.0%} of {check.check.queries} training images, given as "
                "queries, find themselves first: the rankings are not to be "
                "trusted. Try another --measure or --rise, or more --draws.",
                level="warning",
            )
        tables = dict(found.tables)
        if together is not None:
            tables["recurring"] = recurring(train, queries, first, standing, together[0])
        return AuditResult(
            findings=found.findings,
            answer=found.answer,
            rate=found.leaning / len(queries),
            summary=_summary(context, draws, found, scores),
            tables=tables,
            self_check=check.check,
        )

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """Proponents, opponents and neighbours of each image, what recurs, and how far to trust."""
        from auditkit_diffusion import sections  # noqa: PLC0415 - draws, which an audit need not

        return sections.sections(result)


def _say_how_long(context: Context, draws: Draws) -> None:
    count, asked = len(context.subject.train), len(measuring.asked(context))
    passes = 1 + asked + (asked > 1)
    founded = (
        "as set"
        if draws.reliability is None
        else f"{draws.reliability:.0%} of the variance of scores is then the images' own"
    )
    context.say(
        f"{draws.count} draws of noise per image ({founded}): the denoiser is run on about "
        f"{passes * draws.count * count:,} noisy images, and again for checks."
    )


def _kept(standing: Table, values: npt.NDArray[np.float32], count: int) -> list[list[int]]:
    """Positions of the strongest on both sides of each row.

    Where all scores are of one sign, as they always are by outputs, the other side is empty: an
    image that is predicted worse by less than others is no opponent.
    """
    found = []
    for row, own in zip(standing, values, strict=True):
        order = np.argsort(-row, kind="stable")
        upper = [int(place) for place in order[:count] if row[place] > 0 and own[place] > 0]
        lower = [int(place) for place in order[::-1][:count] if row[place] < 0 and own[place] < 0]
        found.append([*upper, *lower])
    return found


def _summary(
    context: Context, draws: Draws, found: Judged, scores: Scores
) -> dict[str, float | int | str | None]:
    return {
        "generated images": len(scores.query_ids),
        "that lean on single training images": found.leaning,
        "training images": len(scores.train_ids),
        "flagged": found.findings.flagged.height,
        "draws of noise per image": draws.count,
        "reliability of the scores": draws.reliability,
        "the same ten under other noises": found.overlap,
        "measured": context.settings.measure,
        "stands out from": found.threshold,
    }
