"""Prompts and completions: from the command line, or from a file with a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from auditkit.errors import PoolError, SettingError, UnreadableError
from auditkit_tracing.settings import TracingSettings

_TEXTS = ("prompt", "completion", "group", "id")


@dataclass(frozen=True)
class Prompt:
    """What a language model is given, and what it writes then.

    Attributes:
        id: unique among all.
        prompt: what it is given.
        completion: what it writes; None where the model is to be asked.
        group: the behaviour it belongs to; its own id where there is no other.
    """

    id: str
    prompt: str
    completion: str | None
    group: str


def read_prompts(settings: TracingSettings) -> list[Prompt]:
    """The prompts that the settings name; none where they name none.

    Raises:
        SettingError: a prompt and a file of prompts, a completion without a prompt, or a text that
            is empty or not valid.
        UnreadableError: the file cannot be read, or a line of it is no such object.
        PoolError: a file without a line, or with an id that stands twice.
    """
    if settings.queries is not None:
        if settings.prompt is not None or settings.completion is not None:
            raise SettingError(
                f"Both --queries {settings.queries} and a prompt or completion were given: put "
                "all into the file, or leave one out."
            )
        return _read(settings.queries)
    if settings.prompt is None:
        if settings.completion is not None:
            raise SettingError(
                f"The completion {settings.completion[:60]!r} was given without a prompt: say what "
                "it follows with --prompt TEXT."
            )
        return []
    _check(settings.prompt, "The prompt")
    if settings.completion is not None:
        _check(settings.completion, "The completion")
    return [Prompt("prompt", settings.prompt, settings.completion, "prompt")]


def _read(path: Path) -> list[Prompt]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            f"The queries in {path} cannot be read: {reason}; expected a UTF-8 file with one JSON "
            'object a line, such as {"prompt": "The sea is", "completion": "blue"}.'
        ) from error
    found: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.append(_prompt(line, where=f"Line {number} of {path.name}", number=number))
    if not found:
        raise PoolError(f"{path.name} holds no query: expected one JSON object a line.")
    seen: set[str] = set()
    for one in found:
        if one.id in seen:
            raise PoolError(f"The id {one.id!r} stands twice in {path.name}: ids must be unique.")
        seen.add(one.id)
    return found


def _prompt(line: str, *, where: str, number: int) -> Prompt:
    try:
        given: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(
            f"{where} is no JSON ({error}): expected an object with a prompt, such as "
            '{"prompt": "The sea is", "completion": "blue"}.'
        ) from error
    if not isinstance(given, dict):
        raise UnreadableError(
            f"{where} is a JSON {type(given).__name__}: expected an object with a prompt."
        )
    _check_keys(given, where)
    wrong = [key for key in _TEXTS if not isinstance(given.get(key), str | None)]
    if wrong:
        kind = type(given[wrong[0]]).__name__
        raise UnreadableError(f"{where} has a {wrong[0]} of type {kind}: expected a text.")
    if given.get("prompt") is None:
        raise UnreadableError(
            f"{where} has no prompt: expected an object with a prompt; it has "
            f"{', '.join(map(str, given)) or 'nothing'}."
        )
    _check(given["prompt"], f"The prompt in line {number}")
    if given.get("completion") is not None:
        _check(given["completion"], f"The completion in line {number}")
    for key in ("id", "group"):
        _check_signs(given.get(key) or "", f"The {key} in line {number}")
    own = given.get("id") or f"line-{number}"
    return Prompt(own, given["prompt"], given.get("completion"), given.get("group") or own)


def _check_keys(given: Mapping[str, object], where: str) -> None:
    """Refuse a key that looks like a known one that is missing: it was meant to be that one."""
    for key in given:
        meant = get_close_matches(key.strip().lower(), [own for own in _TEXTS if own not in given])
        if key not in _TEXTS and meant:
            raise UnreadableError(
                f"{where} has a key {key!r}: did you mean {meant[0]!r}? Read are "
                f"{', '.join(_TEXTS)}; rename the key, or leave it out."
            )


def _check(text: str, what: str) -> None:
    if not text.strip():
        raise SettingError(
            f"{what} is empty: give a text; leave the completion out to have the model write it."
        )
    _check_signs(text, what)


def _check_signs(text: str, what: str) -> None:
    """Refuse halves of UTF-16 pairs, which JSON and command lines can hold and no text can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingError(
            f"{what} is no valid text: its sign {error.start + 1} is {text[error.start]!r}, half "
            "of a pair or a broken byte; give a text in UTF-8."
        ) from error
