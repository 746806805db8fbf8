from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from auditkit import errors
from auditkit.errors import AuditkitError, did_you_mean

LINE = re.compile(r"^    ([│├└─ ]*)(\w+Error)\b(?: +exit (\d))?", re.MULTILINE)


def drawn() -> Iterator[tuple[str, int, int | None]]:
    """Each class in the docstring's tree: its name, depth and exit code where one is drawn."""
    for prefix, name, code in LINE.findall(errors.__doc__ or ""):
        yield name, len(prefix) // 4, int(code) if code else None


def classes(root: type[AuditkitError]) -> Iterator[type[AuditkitError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    parents: list[str] = []
    seen = {}
    for name, depth, _ in drawn():
        del parents[depth:]
        seen[name] = parents[-1] if parents else "Exception"
        parents.append(name)
    assert seen == {kind.__name__: kind.__mro__[1].__name__ for kind in classes(AuditkitError)}
    defined = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert {name for name in defined if name.endswith("Error")} == set(seen)


def test_exit_codes_are_as_drawn_and_inherited() -> None:
    codes = {name: code for name, _, code in drawn() if code is not None}
    assert codes["UsageError"] == 2
    for kind in classes(AuditkitError):
        expected = next(codes[base.__name__] for base in kind.__mro__ if base.__name__ in codes)
        assert kind.exit_code == expected, kind


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("mislable", ["leakage", "mislabel"], "did you mean 'mislabel'?"),
        ("zzz", ["b", "a"], "known: a, b."),
        ("zzz", [], "there are none."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_all(
    name: str, known: list[str], message: str
) -> None:
    assert did_you_mean(name, known) == message


def test_of_many_known_names_the_first_are_listed() -> None:
    message = did_you_mean("zzz", map(str, range(1032)))
    assert message.startswith("known: 0, 1, 10, ")
    assert message.endswith(" and 1,002 others.")
