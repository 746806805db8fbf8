"""Whether an audit class declares what it must, in sentences that say how to mend it."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from inspect import isabstract
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from auditkit.audit import Audit, Requirements
from auditkit.context import Settings

SCALARS = (bool, int, float, str, Path)
"""The types a setting may have, beside a `Literal` of them and any of these or None."""

SEVERAL = tuple[str, ...]
"""The type of a setting that takes several texts: its option may be given several times."""

RESERVED = frozenset(
    {
        "base",
        "batch_size",
        "checkpoint",
        "debug",
        "device",
        "drop",
        "embeddings",
        "evaluation",
        "fail_on",
        "help",
        "id",
    }
    | {"condition", "generated", "generated_prompt"}
    | {
        "label",
        "model",
        "no_model",
        "out",
        "quiet",
        "seed",
        "subject",
        "text",
        "top",
        "trusted",
        "verbose",
    }
)
"""Names of the options every audit's command has; no setting may be called so."""


def problems_of(audit: object) -> list[str]:
    """What keeps an object from being used as an audit class; empty if nothing does."""
    if not (isinstance(audit, type) and issubclass(audit, Audit)):
        return [f"{audit!r} is no subclass of auditkit.Audit: return classes from `audits`."]
    if isabstract(audit):
        return [f"{audit.__name__} does not define the method `audit(context)`."]
    problems = list(_attribute_problems(audit))
    settings = getattr(audit, "settings", None)
    if not (isinstance(settings, type) and issubclass(settings, Settings)):
        problems.append(
            f"{audit.__name__}.settings is {settings!r}: set it to a subclass of auditkit.Settings."
        )
        return problems
    for name, info in settings.model_fields.items():
        problems += _setting_problems(settings.__name__, name, info)
    return problems


def value_type(annotation: object) -> tuple[object, bool]:
    """A setting's type without None, and whether None is allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return (rest[0] if len(rest) == 1 else annotation), len(rest) < len(get_args(annotation))
    return annotation, False


def _attribute_problems(audit: type[Audit[Settings]]) -> Iterator[str]:
    for attribute in ("name", "title", "question", "fail_on"):
        value = getattr(audit, attribute, None)
        if not isinstance(value, str) or not value.strip():
            yield (
                f"{audit.__name__}.{attribute} is {value!r}: set it to a text; it says "
                f"{_MEANINGS[attribute]}."
            )
    name = getattr(audit, "name", None)
    if isinstance(name, str) and name and not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        yield (
            f"{audit.__name__}.name is {name!r}: take lower-case letters, digits, - and _, "
            "beginning with a letter; it becomes a command."
        )
    if not isinstance(getattr(audit, "requirements", None), Requirements):
        yield f"{audit.__name__}.requirements must be an auditkit.Requirements."


def _setting_problems(owner: str, name: str, info: FieldInfo) -> Iterator[str]:
    if name in RESERVED:
        yield f"{owner}.{name} is called like an option every command has: give it another name."
    if info.is_required():
        yield f"{owner}.{name} has no default: every setting needs one."
    if not info.description:
        yield f"{owner}.{name} has no description: write Field(default, description=...)."
    kind, _ = value_type(info.annotation)
    if kind not in (*SCALARS, SEVERAL) and get_origin(kind) is not Literal:
        yield (
            f"{owner}.{name} is of type {info.annotation}: a setting is a bool, int, float, str, "
            "Path or Literal, one of these or None, or a tuple[str, ...]."
        )


_MEANINGS = {
    "name": "what the command and the run folder are called",
    "title": "the heading of the report",
    "question": "what the audit answers; the command's help",
    "fail_on": "what --fail-on compares with its threshold",
}
