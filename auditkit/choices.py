"""Settings as they are given: one of some names, or a number."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import get_args

from auditkit.errors import SettingError, did_you_mean


def check_choice(setting: str, value: object, choices: object) -> None:
    """Refuse a name that is none of a `Literal`'s.

    Raises:
        SettingError: another value; the message names the nearest.
    """
    known = _names(choices)
    if value not in known:
        raise SettingError(f"{setting} is {value!r}: {did_you_mean(str(value), known)}")


def check_number(setting: str, value: object, *, above: float = 0.0) -> None:
    """Refuse what is no finite number above a bound.

    Raises:
        SettingError: anything else.
    """
    fits = isinstance(value, Real) and not isinstance(value, bool)
    if not fits or not above < float(value) < math.inf:  # type: ignore[arg-type]  # a number here
        raise SettingError(
            f"{setting} is {value!r}: it must be a number, above {above:g} and finite."
        )


def check_count(setting: str, value: object, *, least: int = 1) -> None:
    """Refuse what is no whole number, or too small.

    Raises:
        SettingError: anything else.
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or int(value) < least:  # type: ignore[call-overload]  # a number here
        raise SettingError(f"{setting} is {value!r}: it must be a whole number, {least} or more.")


def _names(choices: object) -> list[str]:
    """The names of a `Literal`, or of a union of some."""
    found: list[str] = []
    for part in get_args(choices):
        found += [part] if isinstance(part, str) else _names(part)
    return found
