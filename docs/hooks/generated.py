"""Parts of the reference that are made from the code they describe.

A hook of mkdocs: a line `<!-- generated: NAME -->` in a page is replaced, while the site is built,
by what the function of that name in `PARTS` writes. Only auditkit's own plugins are described,
whatever else is installed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from auditkit import errors
from auditkit.audit import AuditClass
from auditkit.cli.main import auditkit as command_line
from auditkit.declarations import value_type
from auditkit.plugins import DISTRIBUTION, discover
from auditkit.registry import Registry

_MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_of_mkdocs: object) -> str:
    """A page's text with its generated parts; mkdocs calls it for every page."""
    return _MARKER.sub(lambda found: PARTS[found[1]](), markdown)


def first_party_audits() -> Mapping[str, AuditClass]:
    """The audits that come with auditkit, by name.

    Raises:
        PluginError: one of them is broken, and the reference would be incomplete.
    """
    own = [plugin for plugin in discover() if plugin.distribution == DISTRIBUTION]
    registry = Registry(own, only=[plugin.name for plugin in own])
    if registry.warnings:
        raise errors.PluginError(" ".join(registry.warnings))
    return registry.audits


def cli() -> str:
    """Every command with its usage, help, arguments and options."""
    return "\n\n".join(_command(context) for context in contexts())


def contexts() -> Iterator[click.Context]:
    """A click context for each command, groups before what they hold."""
    foreign = [plugin.name for plugin in discover() if plugin.distribution != DISTRIBUTION]
    switched_off = [word for name in foreign for word in ("--no-plugin", name)]
    root = command_line.make_context("auditkit", switched_off, resilient_parsing=True)
    yield from _walk(root)


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _walk(click.Context(found, info_name=name, parent=context))


def _command(context: click.Context) -> str:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [
        f"## `{context.command_path}`",
        f"```text\n{usage}\n```",
        cleandoc(command.help or ""),
        _options(context),
        cleandoc(command.epilog or ""),
    ]
    return "\n\n".join(part for part in parts if part)


def _options(context: click.Context) -> str:
    records = [
        parameter.get_help_record(context) for parameter in context.command.get_params(context)
    ]
    rows = [(f"`{record[0]}`", _cell(record[1])) for record in records if record and record[1]]
    return _table(("option", "meaning"), rows)


def audits() -> str:
    """Every audit that comes with auditkit: what it asks, what it needs and its settings."""
    return "\n\n".join(_audit(audit) for audit in first_party_audits().values())


def _audit(audit: AuditClass) -> str:
    needs = audit.requirements
    facts = [
        ("command", f"`auditkit {audit.name} SUBJECT`"),
        ("title of its report", audit.title),
        ("outputs the task must declare", " or ".join(needs.likelihoods) or "none"),
        ("queries", needs.queries),
        ("`example_id` names examples of", f"the {audit.judged} pool"),
        ("`--fail-on` compares", audit.fail_on),
    ]
    settings = [
        (
            f"`{name}`",
            f"`{_type(info)}`",
            f"`{info.get_default(call_default_factory=True)!r}`",
            _cell(info.description or ""),
        )
        for name, info in audit.settings.model_fields.items()
    ]
    return "\n\n".join(
        [
            f"## {audit.name}",
            audit.question,
            _table(("what it declares", ""), facts),
            "Settings:",
            _table(("name", "type", "default", "meaning"), settings),
        ]
    )


def _type(info: FieldInfo) -> str:
    kind, optional = value_type(info.annotation)
    if get_origin(kind) is Literal:
        shown = " or ".join(repr(choice) for choice in get_args(kind))
    else:
        shown = kind.__name__ if isinstance(kind, type) else str(kind)
    return f"{shown} or None" if optional else shown


def error_tree() -> str:
    """Every class of `auditkit.errors`, indented below the one it belongs to."""
    rows = [
        ("&emsp;" * depth + f"`{error.__name__}`", str(error.exit_code), _first_line(error))
        for error, depth in tree(errors.AuditkitError)
    ]
    return _table(("error", "exit code", "meaning"), rows)


def tree(
    error: type[errors.AuditkitError], depth: int = 0
) -> Iterator[tuple[type[errors.AuditkitError], int]]:
    """The class and all below it that `auditkit.errors` defines, each with its depth."""
    yield error, depth
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below, depth + 1)


def _first_line(documented: object) -> str:
    return cleandoc(documented.__doc__ or "").splitlines()[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


PARTS: Mapping[str, Callable[[], str]] = {"audits": audits, "cli": cli, "errors": error_tree}
"""What a page may ask for, by name."""
