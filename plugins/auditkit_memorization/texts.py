"""Memorization of texts by a language model: counterfactual, verbatim, and of planted canaries."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import AuditResult, Findings
from auditkit.errors import SettingError, UnreadableError, UsageError
from auditkit_memorization.language import (
    counterfactual,
    exposure,
    extrapolated_exposure,
    log_perplexity,
    longest_continuation,
)
from auditkit_memorization.settings import Context

if TYPE_CHECKING:
    from torch import Tensor

    from auditkit import Documents, LanguageModelTask
    from auditkit_memorization.language import NextToken

Losses = npt.NDArray[np.float64]

KEEP = 0.2
"""What replays keep of the trained weights."""

REFERENCES = 256
"""Secrets of a canary's form that were not planted, to rank it among."""

_APART = 0.1
"""How much less a replay may know of what it trains on, before a warning."""

VERBATIM, MEMORIZED, LEARNT = "verbatim", "memorized", "learnt"


def audit_texts(context: Context) -> AuditResult:
    """Every document of the train pool, and the canaries if there are any.

    Raises:
        UsageError: another task than a causal `LanguageModelTask` on `Documents`, or canaries
            without a tokenizer.
        SettingError: a canary that cannot be judged.
        UnreadableError: the canaries cannot be read.
    """
    settings, train = context.settings, context.subject.train
    documents, task = _causal(context)
    scores = _next_token(task)
    planted = _canaries(context, documents, task, scores)
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
    findings = Findings.ranked(
        train.ids,
        score,
        flagged=flagged,
        columns={
            "verdict": verdict,
            "loss_with": inside,
            "loss_without": without,
            "counterfactual": saved,
            "loss_held_out": outside,
            "loss_replayed": replayed,
            "verbatim_tokens": length,
            "verbatim_from": np.array([own.start for own in verbatim]),
        },
    )
    _say(context, inside, replayed)
    return _result(context, findings, planted)


def _result(context: Context, findings: Findings, planted: pl.DataFrame | None) -> AuditResult:
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
    if settings.confirm or settings.by is not None or context.subject.queries is not None:
        context.note(
            "For texts, groups (`by`), leaving out the most memorized (`confirm`) and what "
            "evaluation examples lean on are not measured.",
            level="warning",
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


def _canaries(
    context: Context, documents: Documents, task: LanguageModelTask, scores: NextToken
) -> pl.DataFrame | None:
    """Each canary with its exposure; None where none were planted."""
    path, tokenizer = context.settings.canaries, task.tokenizer
    if path is None:
        return None
    if tokenizer is None:
        raise UsageError(
            "Canaries are texts, and the task has no tokenizer: give "
            "`LanguageModelTask(model, tokenizer=...)`."
        )
    rows, longest = [], max(map(len, documents.tokens))
    random = np.random.default_rng(context.seed)
    for text in _lines(path):
        asked = [text, *_alike(text, random)]
        tokens = [list(tokenizer.encode(one)) for one in asked]
        _check(text, tokens, longest=longest)
        bits = [log_perplexity(scores, own) for own in tokens]
        rows.append(
            {
                "canary": text,
                "log perplexity": bits[0],
                "exposure": float(exposure(bits[:1], bits[1:])[0]),
                "most": float(np.log2(len(bits))),
                "extrapolated exposure": _beyond(bits),
            }
        )
    return pl.DataFrame(rows)


def _check(text: str, tokens: list[list[int]], *, longest: int) -> None:
    """Whether a canary and those of its form can be told apart and read."""
    if not 1 < len(tokens[0]) <= longest:
        raise SettingError(
            f"The canary {text[:60]!r} is {len(tokens[0])} tokens long: expected 2 to {longest}, "
            "as the documents have."
        )
    if len(tokens) < 2 or all(own == tokens[0] for own in tokens[1:]):
        raise SettingError(
            f"The canary {text[:60]!r} and secrets of its form are the same to the tokenizer: it "
            "must tell digits apart, and the canary have some."
        )


def _beyond(bits: list[float]) -> float | None:
    """The exposure beyond the number of references; None where these cannot be fitted."""
    try:
        found = float(extrapolated_exposure(bits[:1], bits[1:])[0])
    except SettingError:  # references that are all alike
        return None
    return found if np.isfinite(found) else None


def _alike(text: str, random: np.random.Generator) -> list[str]:
    """Other texts of the same form, each once: every digit drawn anew."""
    digits = len(re.findall(r"\d", text))
    if not digits:
        raise SettingError(
            f"The canary {text[:60]!r} has no digit: its digits are drawn anew to get secrets "
            "that were not planted, so each canary needs some."
        )
    most = min(REFERENCES, 10**digits - 1)
    found: dict[str, None] = {}
    while len(found) < most:
        other = re.sub(r"\d", lambda _: str(random.integers(10)), text)
        if other != text:
            found[other] = None
    return list(found)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UnreadableError(
            f"The canaries in {path} cannot be read: {error}; expected a text file, one a line."
        ) from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise SettingError(f"{path} holds no canary: expected a text file, one a line.")
    return found
