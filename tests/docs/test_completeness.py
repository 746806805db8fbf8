"""Whatever can be used is documented: names, hooks, errors, commands, settings, stored fields."""

from __future__ import annotations

import importlib.util
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import get_args

import click
import pytest
from pydantic import BaseModel

import auditkit
from auditkit import errors, hookspecs, registry, store, truth
from auditkit.findings import SCHEMA
from auditkit.report import context as report_context
from auditkit.report import views as report_views
from auditkit.results import Note, SelfCheck

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The module that writes parts of the reference while the site is built."""
    path = DOCS / "hooks" / "generated.py"
    spec = importlib.util.spec_from_file_location("generated_documentation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", auditkit.__all__)
def test_an_exported_name_is_documented(name: str) -> None:
    page = text_of("reference/python.md")
    elsewhere = {"__version__", "errors", "hookimpl"}
    assert (f"`auditkit.{name}`" if name in elsewhere else f"\n::: auditkit.{name}\n") in page


def test_the_reference_names_nothing_that_is_not_exported() -> None:
    named = re.findall(r"^::: auditkit\.(\w+)$", text_of("reference/python.md"), re.MULTILINE)
    assert sorted(named) == sorted(set(named) & set(auditkit.__all__))


@pytest.mark.parametrize("name", truth.__all__)
def test_a_name_of_truth_is_documented(name: str) -> None:
    assert f"\n::: auditkit.truth.{name}\n" in text_of("reference/python.md")
    assert inspect.getdoc(getattr(truth, name))


HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "auditkit_spec")]


def test_there_are_hooks() -> None:
    assert {"audits", "load_subject"} <= set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented(hook: str) -> None:
    assert f"\n::: auditkit.hookspecs.{hook}\n" in text_of("reference/hooks.md")
    assert inspect.getdoc(getattr(hookspecs, hook))


def test_every_error_is_documented_with_its_exit_code(generated: ModuleType) -> None:
    table = generated.PARTS["errors"]()
    found = dict(re.findall(r"`(\w+)` \| (\d+) \|", table))
    expected = {
        name: str(value.exit_code)
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.AuditkitError)
    }
    assert found == expected


def test_every_marker_asks_for_a_part_there_is(generated: ModuleType) -> None:
    asked = [
        name
        for page in PAGES
        for name in re.findall(r"<!-- generated: (\w+) -->", page.read_text())
    ]
    assert sorted(asked) == sorted(generated.PARTS)


def test_every_command_and_option_is_documented(generated: ModuleType) -> None:
    page = generated.PARTS["cli"]()
    sections = dict(re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert {"auditkit", "auditkit mislabel", "auditkit runs show"} <= set(sections)
    for context in generated.contexts():
        section = sections[context.command_path]
        assert context.command.help, context.command_path
        for parameter in context.command.get_params(context):
            if isinstance(parameter, click.Option):
                for flag in parameter.opts:
                    row = re.search(rf"^\| `[^`]*{flag}\b[^`]*` \| (.+) \|$", section, re.MULTILINE)
                    assert row, f"{context.command_path} {flag}"
                assert parameter.help, f"{context.command_path} {parameter.name} has no help"
            else:
                assert parameter.make_metavar(context).strip("[]") in section


def test_every_setting_is_documented(generated: ModuleType) -> None:
    page = generated.PARTS["audits"]()
    audits = generated.first_party_audits()
    assert "mislabel" in audits
    for audit in audits.values():
        assert f"## {audit.name}\n" in page
        assert audit.question in page
        for name, info in audit.settings.model_fields.items():
            assert info.description
            assert f"| `{name}` |" in page


def rows(page: str, after: str) -> list[str]:
    """The first cells of the first table after a piece of text."""
    table = re.search(r"(^\|.*\n)+", page[page.index(after) :], re.MULTILINE)
    assert table is not None
    return re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE)


@pytest.mark.parametrize(
    ("model", "after"),
    [
        (store.RunRecord, "## The record"),
        (store.SubjectRecord, "\n`subject`:"),
        (Note, "\nEach of `notes`:"),
        (SelfCheck, "\n`self_check`:"),
    ],
)
def test_every_field_of_the_record_is_documented(model: type[BaseModel], after: str) -> None:
    assert rows(text_of("reference/run-folder.md"), after) == list(model.model_fields)


def test_the_columns_of_findings_are_documented() -> None:
    page = text_of("reference/run-folder.md")
    assert rows(page, "## Findings") == list(SCHEMA)
    for name, dtype in SCHEMA.items():
        assert f"| `{name}` | {dtype} |" in page


VIEWS = {
    name: value
    for module in (report_context, report_views)
    for name, value in vars(module).items()
    if is_dataclass(value)
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_every_field_of_the_report_context_is_documented(view: type) -> None:
    assert f"\n::: {view.__module__}\n" in text_of("reference/report.md")
    described = re.findall(r"^    (\w+): ", inspect.getdoc(view) or "", re.MULTILINE)
    assert described == [field.name for field in fields(view)]


def test_every_template_and_every_block_is_documented() -> None:
    page = text_of("reference/report.md")
    folder = ROOT / "templates"
    there = {f"auditkit/{path.relative_to(folder)}": path for path in folder.rglob("*.html")}
    named = dict(re.findall(r"^\| `(auditkit/[\w/.]+)` \| (.*) \|$", page, re.MULTILINE))
    assert sorted(named) == sorted(there)
    for name, path in there.items():
        blocks = re.findall(r"{% block (\w+) %}", path.read_text(encoding="utf-8"))
        own = [block for block in blocks if not (block == "body" and name.endswith("report.html"))]
        assert all(f"`{block}`" in named[name] for block in own), name


def test_the_states_of_plugins_are_documented() -> None:
    page = text_of("how-to/switch-plugins-off.md")
    assert rows(page, "| status |") == list(get_args(registry.Status))
    assert registry.ENVIRONMENT in page


def test_the_numbers_in_the_explanation_are_those_of_the_code() -> None:
    from auditkit.engine import curvature, line_search, outputs, probes

    method = text_of("explanation/method.md")
    default = inspect.signature(auditkit.ForwardINF).parameters["rise"].default
    assert f"`rise`, {default:g} by default" in method
    assert f"from the {probes.SAMPLE:,} heaviest of the rows" in method
    assert f"within {line_search._TOLERANCE:.0%}".replace("%", " %") in method
    assert f"The {outputs.ROWS:,} heaviest are kept" in method
    kinds = re.findall(r"^\| `(\w+)` \|", method, re.MULTILINE)
    assert kinds == list(get_args(curvature.Kind))
    holdout = inspect.signature(auditkit.ForwardINF.holdout).parameters
    said = f"the defaults, {holdout['folds'].default} folds and {holdout['epochs'].default} epochs"
    assert said in text_of("explanation/holdout.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_place_on_somebodys_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"(?<![\w.])(?:/(?:work|home|root|tmp|Users)/|[A-Z]:\\)\S*", text) == []
