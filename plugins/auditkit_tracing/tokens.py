"""From prompts and completions to tokens, and back."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditkit.errors import SettingError
from auditkit_tracing.prompts import Prompt

if TYPE_CHECKING:
    from auditkit import LanguageModelTask
    from auditkit.tasks.language_model import Tokenizer


_CLOSING = tuple(".,;:!?)")

_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""How the names of letters begin that are written without spaces between words."""


@dataclass(frozen=True)
class Tokenized:
    """A prompt and a completion as token ids.

    Attributes:
        prompt: what the model is given.
        completion: what it writes; with `form="seq2seq"` its answer.
        text: of the completion.
    """

    prompt: list[int]
    completion: list[int]
    text: str


def prompt_tokens(prompt: Prompt, tokenizer: Tokenizer, *, answers: bool) -> list[int]:
    """The token ids of a prompt, to be gone on from, or to be answered.

    Raises:
        SettingError: it has no tokens.
    """
    tokens = list(tokenizer.encode(prompt.prompt))
    found = tokens if answers else _without_end(tokens, tokenizer)
    if not found:
        raise SettingError(
            f"The prompt {prompt.prompt[:60]!r} has no tokens: give a longer one, since the model "
            "must be given something."
        )
    return found


def tokenized(prompt: Prompt, completion: str, tokenizer: Tokenizer, *, answers: bool) -> Tokenized:
    """A prompt with its completion.

    A model that goes on is given both as one text, with a space between them where two words would
    run together; the completion begins with the first token that differs from the prompt's own.

    Raises:
        SettingError: the completion has no tokens, or one that the tokenizer does not know.
    """
    given = prompt_tokens(prompt, tokenizer, answers=answers)
    if answers:
        own = _without_end(list(tokenizer.encode(completion)), tokenizer)
        _check(completion, own, tokenizer)
        return Tokenized(given, own, completion)
    space = " " if _run_together(prompt.prompt, completion) else ""
    whole = _without_end(list(tokenizer.encode(prompt.prompt + space + completion)), tokenizer)
    same = next(
        (place for place, (a, b) in enumerate(zip(given, whole, strict=False)) if a != b),
        min(len(given), len(whole)),
    )
    own = whole[max(same, 1) :]
    _check(completion, own, tokenizer)
    return Tokenized(whole[: len(whole) - len(own)], own, space + completion)


def check_length(prompt: Prompt, own: Tokenized, task: LanguageModelTask) -> None:
    """Whether the model can read it all.

    Raises:
        SettingError: it cannot.
    """
    most = task.context
    if most is None:
        return
    if task.form == "causal" and len(own.prompt) + len(own.completion) > most:
        raise SettingError(
            f"The prompt {prompt.prompt[:40]!r} and its completion are "
            f"{len(own.prompt) + len(own.completion):,} tokens long, and the model reads {most:,}: "
            "shorten the prompt."
        )
    if max(len(own.prompt), len(own.completion)) > most:
        raise SettingError(
            f"The prompt {prompt.prompt[:40]!r} is {len(own.prompt):,} tokens long and its answer "
            f"{len(own.completion):,}, and the model reads {most:,}: shorten it."
        )


def _check(completion: str, own: Sequence[int], tokenizer: Tokenizer) -> None:
    if not own:
        raise SettingError(
            f"The completion {completion[:60]!r} has no tokens of its own: give one that the "
            "tokenizer can tell from the prompt."
        )
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is not None and unknown in own:
        raise SettingError(
            f"The completion {completion[:60]!r} has a part that the tokenizer does not know: the "
            "model cannot have learnt to write it; give another completion."
        )


def _without_end(tokens: list[int], tokenizer: Tokenizer) -> list[int]:
    """Without what the tokenizer puts at the end of every text."""
    around = list(tokenizer.encode(""))
    begin = 0
    while begin < min(len(around), len(tokens)) and around[begin] == tokens[begin]:
        begin += 1
    while len(around) > 0 and len(tokens) > begin and around[-1] == tokens[-1]:
        around.pop()
        tokens = tokens[:-1]
    return tokens


def _run_together(prompt: str, completion: str) -> bool:
    """Whether two words would run together, in a script that sets spaces between them."""
    last, first = prompt[-1:], completion[:1]
    return _spaced(first) and (_spaced(last) or last in _CLOSING)


def _spaced(sign: str) -> bool:
    """Whether it is a letter or digit of a script that sets spaces between words."""
    return sign.isalnum() and not unicodedata.name(sign, "").startswith(_UNSPACED)
