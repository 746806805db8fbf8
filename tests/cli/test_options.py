from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
import pytest
from pydantic import Field

from auditkit import AuditClass, Settings
from auditkit.cli.options import given_settings, setting_options
from auditkit.pipeline import check_settings
from auditkit.registry import Registry


class Every(Settings):
    """A setting of every type there may be."""

    flag: bool = Field(False, description="Off by default.")
    other: bool = Field(True, description="On by default.")
    count: int | None = Field(None, description="A number.")
    share: float = Field(0.5, description="A share.")
    way: Literal["short", "long"] = Field("short", description="A choice.")
    level: Literal[1, 2] = Field(1, description="A choice of numbers.")
    place: Path = Field(Path("here"), description="A place.")
    long_name: str | None = Field(None, description="A text.")
    each: tuple[str, ...] = Field((), description="Texts.")


@pytest.fixture
def audit() -> AuditClass:
    return type("Audited", (Registry().audit("mislabel"),), {"settings": Every})


def parsed(audit: AuditClass, arguments: list[str]) -> Every:
    """The settings that a command line gives."""
    command = click.Command("x", params=setting_options(audit))
    values = command.make_context("x", arguments).params
    settings = check_settings(audit, given_settings(audit, values))
    assert isinstance(settings, Every)
    return settings


def test_no_options_give_the_defaults(audit: AuditClass) -> None:
    assert parsed(audit, []) == Every()


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--flag", "--no-other"], {"flag": True, "other": False}),
        (["--count", "3"], {"count": 3}),
        (["--share", "0.25"], {"share": 0.25}),
        (["--way", "long", "--level", "2"], {"way": "long", "level": 2}),
        (["--place", "there"], {"place": Path("there")}),
        (["--long-name", "x y"], {"long_name": "x y"}),
        (["--each", "a b", "--each", "7"], {"each": ("a b", "7")}),
    ],
)
def test_every_type_of_setting_is_an_option(
    audit: AuditClass, arguments: list[str], changed: dict[str, object]
) -> None:
    assert parsed(audit, arguments) == Every.model_validate(changed)


def test_choices_are_checked(audit: AuditClass) -> None:
    with pytest.raises(click.BadParameter, match="'sideways'"):
        parsed(audit, ["--way", "sideways"])


def test_an_option_that_takes_several_says_so(audit: AuditClass) -> None:
    [option] = [one for one in setting_options(audit) if one.name == "each"]
    assert isinstance(option, click.Option)
    assert option.help == "Texts. May be given several times."
