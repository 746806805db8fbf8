from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from auditkit import Audit, AuditContext, AuditResult, Settings
from auditkit.declarations import problems_of


class Good(Settings):
    flag: bool = Field(False, description="a flag")
    count: int | None = Field(None, description="a number, or none")
    way: Literal["short", "long"] = Field("short", description="a choice")
    place: Path = Field(Path("here"), description="a place")


class Fits(Audit[Good]):
    name, title, question, fail_on = "fits", "Fits", "Does it fit?", "share that fits"
    settings = Good

    def audit(self, context: AuditContext[Good]) -> AuditResult:
        raise NotImplementedError


def changed(**attributes: object) -> type:
    return type("Changed", (Fits,), attributes)


def test_a_complete_audit_has_no_problems() -> None:
    assert problems_of(Fits) == []


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"name": ""}, "Changed.name is ''"),
        ({"name": "Two Words"}, "lower-case letters"),
        ({"title": None}, "the heading of the report"),
        ({"question": 3}, "what the audit answers"),
        ({"fail_on": " "}, "--fail-on"),
        ({"requirements": {}}, "auditkit.Requirements"),
        ({"settings": dict}, "subclass of auditkit.Settings"),
    ],
)
def test_what_is_not_declared_is_named(attributes: dict[str, object], message: str) -> None:
    (problem,) = problems_of(changed(**attributes))
    assert message in problem


def test_settings_need_defaults_descriptions_simple_types_and_free_names() -> None:
    class Bad(Settings):
        first: int = Field(description="no default")
        second: int = 3
        third: list[int] = Field([], description="a list")
        seed: int = Field(0, description="taken")

    found = problems_of(changed(settings=Bad))
    assert len(found) == 4
    for name, part in (
        ("Bad.first", "has no default"),
        ("Bad.second", "has no description"),
        ("Bad.third", "a setting is a bool"),
        ("Bad.seed", "another name"),
    ):
        assert any(name in problem and part in problem for problem in found)


def test_what_is_no_audit_is_refused() -> None:
    assert "no subclass of auditkit.Audit" in problems_of(dict)[0]
    assert "no subclass of auditkit.Audit" in problems_of(Fits())[0]
    assert "does not define the method" in problems_of(type("Idle", (Audit,), {}))[0]
