"""How a report writes names and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from auditkit.results import Number

NOTHING = "\N{EN DASH}"
"""What stands where there is no value."""

_MOST_DECIMALS = 6


def title_of(name: str) -> str:
    """A column's or number's name as a heading: `given_label` is written "Given label"."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def number(value: Number, *, decimals: int | None = None) -> str:
    """A value as text: thousands apart, three significant digits unless decimals are given."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str) or not math.isfinite(value):
        return str(value)
    places = decimals_for([value]) if decimals is None else decimals
    if value != 0 and abs(value) < 0.5 * 10**-places:
        return f"{value:.1e}"
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if decimals is None and "." in text else text


def decimals_for(values: Iterable[float], *, digits: int = 3) -> int:
    """How many decimals show the largest of these numbers with so many significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return 0
    return min(max(digits - 1 - math.floor(math.log10(largest)), 0), _MOST_DECIMALS)


def percent(share: float) -> str:
    """A share as percent."""
    return f"{share:.0%}" if share in (0, 1) or 0.1 <= share <= 0.99 else f"{share:.1%}"


def seconds(value: float) -> str:
    """A time span, in seconds below two minutes."""
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(value: int) -> str:
    """A number of bytes, in megabytes; nothing known for 0."""
    return f"{value / 1e6:,.0f} MB" if value else NOTHING
