"""Planted canaries: how far each stands out among secrets of its form that were not planted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from auditkit.errors import SettingError, UnreadableError, UsageError
from auditkit_memorization.language import exposure, extrapolated_exposure, log_perplexity
from auditkit_memorization.settings import Context

if TYPE_CHECKING:
    from auditkit import Documents, LanguageModelTask
    from auditkit_memorization.language import NextToken

REFERENCES = 256
"""Secrets of a canary's form that were not planted, to rank it among."""


def canaries(
    context: Context, documents: Documents, task: LanguageModelTask, scores: NextToken
) -> pl.DataFrame | None:
    """Each canary with its exposure; None where none were planted.

    Raises:
        UsageError: the task has no tokenizer.
        SettingError: a canary that cannot be judged.
        UnreadableError: the canaries cannot be read.
    """
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
