"""Memorization of texts by a language model: counterfactual, verbatim, and of planted canaries."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import AuditResult, Findings
from auditkit.errors import UsageError
from auditkit_memorization import text_pairs
from auditkit_memorization.canaries import canaries
from auditkit_memorization.confirm import Confirmation, confirm_texts, left_out
from auditkit_memorization.language import counterfactual, longest_continuation
from auditkit_memorization.pairs import asked
from auditkit_memorization.settings import Context

if TYPE_CHECKING:
    from torch import Tensor

    from auditkit import Documents, LanguageModelTask
    from auditkit_memorization.language import NextToken

Losses = npt.NDArray[np.float64]

KEEP = 0.2
"""What replays keep of the trained weights."""

_APART = 0.1
"""How much less a replay may know of what it trains on, before a warning."""

VERBATIM, MEMORIZED, LEARNT = "verbatim", "memorized", "learnt"


def audit_texts(context: Context) -> AuditResult:
    """Every document of the train pool, and the canaries if there are any.

    Raises:
        UsageError: another task than a causal `LanguageModelTask` on `Documents`, or canaries
            without a tokenizer.
        SettingError: a canary that cannot be judged, or `leave_out` leaves no document out.
        UnreadableError: the canaries cannot be read.
    """
    settings, train = context.settings, context.subject.train
    documents, task = _causal(context)
    if settings.confirm:
        left_out(settings.leave_out, len(train))
    scores = _next_token(task)
    planted = canaries(context, documents, task, scores)
    held = context.engine.holdout(
        folds=settings.folds,
        epochs=settings.replay_epochs(len(train), context.subject.recipe.batch_size),
        repeats=settings.repeats,
        keep=KEEP,
    )
    inside, outside, replayed = (
        part.astype(np.float64) for part in (held.inside, held.outside, held.replayed)
    )
    saved = counterfactual(held)
    without = inside + np.maximum(saved, 0)
    score = np.exp(-inside) - np.exp(-without)
    verbatim = []
    with context.progress.step("reading continuations", len(train)) as step:
        for tokens, prompt in zip(documents.tokens, documents.prompts, strict=True):
            verbatim.append(longest_continuation(scores, tokens.tolist(), prefix=max(prompt, 1)))
            step.advance()
    length = np.array([own.length for own in verbatim])
    flagged = score >= settings.threshold
    counted = np.array([len(documents.counted(place)) for place in range(len(train))])
    enough = np.minimum(settings.verbatim, np.ceil(counted / 2))
    verdict = np.where(flagged, np.where(length >= enough, VERBATIM, MEMORIZED), LEARNT)
    leaning = _leaning(context, score, saved, flagged)
    columns: dict[str, npt.NDArray[np.generic] | list[int]] = {
        "verdict": verdict,
        "loss_with": inside,
        "loss_without": without,
        "counterfactual": saved,
        "loss_held_out": outside,
        "loss_replayed": replayed,
        "verbatim_tokens": length,
        "verbatim_from": np.array([own.start for own in verbatim]),
    }
    if leaning is not None:
        known = dict(leaning.group_by("example_id").len().iter_rows())
        columns["leaning_examples"] = [known.get(name, 0) for name in train.ids]
    findings = Findings.ranked(train.ids, score, flagged=flagged, columns=columns)
    confirmed = None
    if settings.confirm:
        confirmed = confirm_texts(
            context, score, share=settings.leave_out, seeds=settings.confirm_seeds
        )
    _say(context, inside, replayed)
    return _result(context, findings, planted, leaning, confirmed)


def _leaning(
    context: Context, score: Losses, saved: Losses, flagged: npt.NDArray[np.bool_]
) -> pl.DataFrame | None:
    """The pairs of memorized and evaluation documents; None where none were asked for."""
    if asked(context, most=context.settings.pairs) is None:
        return None
    places = np.flatnonzero(flagged)
    worst = places[np.argsort(-score[places], kind="stable")]
    return text_pairs.leaning_texts(context, worst, saved[worst], most=context.settings.pairs)


def _result(
    context: Context,
    findings: Findings,
    planted: pl.DataFrame | None,
    leaning: pl.DataFrame | None,
    confirmed: Confirmation | None,
) -> AuditResult:
    frame, count = findings.frame, len(findings)
    flagged = findings.flagged.height
    whole = frame.filter(pl.col("verdict") == VERBATIM).height
    answer = (
        f"{flagged:,} of {count:,} documents ({flagged / count:.1%}) are memorized rather than "
        f"learnt, {whole:,} of them verbatim."
    )
    if not flagged:
        answer = f"None of the {count:,} documents is memorized rather than learnt."
    if planted is not None:
        out = planted.filter(pl.col("exposure") >= planted["most"]).height
        verb = "stands" if out == 1 else "stand"
        answer += f" Of {planted.height:,} canaries, {out:,} {verb} out among all references."
    tables = {} if planted is None else {"canaries": planted}
    if leaning is not None:
        tables["pairs"] = leaning
    if confirmed is not None:
        tables |= {"losses": confirmed.levels, "differences": confirmed.differences}
    queries = asked(context, most=context.settings.pairs)
    return AuditResult(
        findings=findings,
        answer=answer,
        rate=flagged / count,
        summary={
            "memorized documents": flagged,
            "of them verbatim": whole,
            "documents judged": count,
            "longest continuation": int(frame["verbatim_tokens"].to_numpy().max()),
            "threshold": context.settings.threshold,
            "evaluation documents asked": 0 if queries is None else len(queries),
            "evaluation documents that lean": 0
            if leaning is None
            else leaning["query_id"].n_unique(),
            "left out to confirm": None if confirmed is None else confirmed.left_out,
            "confirmed on": None if confirmed is None else confirmed.judged_on,
        },
        tables=tables,
    )


def _say(context: Context, inside: Losses, replayed: Losses) -> None:
    context.note(
        "Documents are judged by holding them out of training, so a model that was trained from "
        "other weights than `fresh` gives (a pretrained one) needs `Subject(pretrained=...)`."
    )
    known, learnt = (float(np.exp(-part).mean()) for part in (inside, replayed))
    if learnt < known - _APART:
        context.note(
            f"The replays know a token of what they train on with a probability of {learnt:.2f}, "
            f"the trained model with {known:.2f}: they are trained less, and memorization is "
            "underestimated; give more `epochs`, or the model's own recipe in Python.",
            level="warning",
        )
    settings = context.settings
    if settings.by is not None:
        context.note("For texts, groups (`by`) are not compared.", level="warning")
    if context.subject.queries is None:
        context.note(
            "No evaluation documents were given, so which of them lean on memorized documents was "
            "not asked: give a second path, or `Subject(queries=...)`."
        )


def _causal(context: Context) -> tuple[Documents, LanguageModelTask]:
    """The documents and the task, of which the tokens and the model's next one are known."""
    from auditkit import Documents, LanguageModelTask  # noqa: PLC0415 - brings torch

    documents, task = context.subject.train.dataset, context.task
    if not isinstance(task, LanguageModelTask) or task.form != "causal":
        raise UsageError(
            f"Memorization of texts is asked of a {type(task).__name__}: it needs a "
            "LanguageModelTask whose model continues what it reads (causal)."
        )
    if not isinstance(documents, Documents):
        raise UsageError(
            f"The documents are a {type(documents).__name__}: make the pool of `auditkit.Documents`"
            ", so that the tokens of each are known."
        )
    queries = context.subject.queries
    if queries is not None and not isinstance(queries.dataset, Documents):
        raise UsageError(
            f"The evaluation documents are a {type(queries.dataset).__name__}: make that pool of "
            "`auditkit.Documents` as well."
        )
    return documents, task


def _next_token(task: LanguageModelTask) -> NextToken:
    """The trained model as a function of token ids; a copy, in evaluation mode."""
    import torch  # noqa: PLC0415 - heavy

    model = copy.deepcopy(task.model).eval()
    device = next(model.parameters()).device

    def scores(ids: Tensor) -> Tensor:
        with torch.no_grad():
            return task.next_token(model, ids.to(device)).float().cpu()

    return scores
