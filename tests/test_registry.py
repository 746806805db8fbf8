from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from auditkit import AuditResult, Findings, Section, SourceOptions, Subject
from auditkit.errors import DataError, PluginError, SubjectReferenceError, UnknownNameError
from auditkit.plugins import DISTRIBUTION, discover
from auditkit.progress import SILENT, Step
from auditkit.registry import ENVIRONMENT, Registry

if TYPE_CHECKING:
    from tests.conftest import MakeDistribution

Install = Callable[..., None]

AUDIT = """
    import numpy as np
    from pydantic import Field
    import auditkit

    class CountSettings(auditkit.Settings):
        limit: int = Field(3, ge=1, description="how many to count")

    class Count(auditkit.Audit[CountSettings]):
        name, title, question, fail_on = "count", "Count", "How many?", "share counted"
        settings = CountSettings

        def audit(self, context):
            pool = context.subject.train
            findings = auditkit.Findings.ranked(pool.ids, np.zeros(len(pool)))
            return auditkit.AuditResult(findings, answer="Some.", rate=0.0)

    @auditkit.hookimpl
    def audits():
        return [Count]
"""


def names(registry: Registry, status: str) -> set[str]:
    return {it.candidate.name for it in registry.outcomes if it.status == status}


def test_auditkits_own_plugins_come_in_by_the_same_door() -> None:
    registry = Registry()
    assert {"mislabel", "sources"} <= names(registry, "active")
    assert registry.warnings == []
    origin = registry.origin(registry.audit("mislabel"))
    assert origin is not None
    assert (origin.name, origin.distribution) == ("mislabel", DISTRIBUTION)


def test_discovering_imports_nothing(make_distribution: MakeDistribution) -> None:
    folder = make_distribution("loud", "raise SystemExit(7)", entry="loud", module="loud_plugin")
    code = (
        "import sys; from auditkit.plugins import discover\n"
        "found = {plugin.name: plugin.distribution for plugin in discover()}\n"
        "assert found['loud'] == 'loud' and found['mislabel'] == 'auditkit-influence', found\n"
        "assert not {'loud_plugin', 'auditkit_mislabel'} & set(sys.modules)\n"
    )
    environment = {"PYTHONPATH": str(folder), "PATH": ""}
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr


def test_an_installed_audit_is_there_and_knows_where_it_is_from(install: Install) -> None:
    install("counting", AUDIT, entry="counter")
    registry = Registry()
    assert registry.warnings == []
    audit = registry.audits["count"]
    origin = registry.origin(audit)
    assert origin is not None
    assert str(origin) == "'counter' of the distribution counting 1.2.3"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('out of\\norder')", "RuntimeError: out of order"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_costs_a_warning(
    install: Install, source: str, said: str
) -> None:
    install("brittle", source, entry="brittle")
    install("counting", AUDIT, entry="counter")
    registry = Registry()
    (warning,) = registry.warnings
    assert "'brittle' of the distribution brittle 1.2.3" in warning
    assert said in warning
    assert "\n" not in warning
    assert {"count", "mislabel"} <= set(registry.audits)
    assert "brittle" in names(registry, "broken")


def test_a_misspelt_hook_is_reported(install: Install) -> None:
    install("typing-error", AUDIT.replace("def audits", "def audit"), entry="slip")
    registry = Registry()
    (warning,) = registry.warnings
    assert "typing-error" in warning
    assert "'audit', which is no hook; did you mean 'audits'?" in warning
    assert "slip" in names(registry, "broken")


def test_a_hook_of_a_newer_auditkit_may_be_optional(install: Install) -> None:
    extra = "\n    @auditkit.hookimpl(optionalhook=True)\n    def of_the_future():\n        pass\n"
    install("counting", AUDIT + extra, entry="counter")
    registry = Registry()
    assert registry.warnings == []
    (plugin,) = [it for it in registry.outcomes if it.candidate.name == "counter"]
    assert plugin.hooks == ("audits",)


def test_a_hook_that_takes_other_arguments_is_reported(install: Install) -> None:
    source = "import auditkit\n@auditkit.hookimpl\ndef load_subject(reference, colour): pass"
    install("colourful", source, entry="colour")
    (warning,) = Registry().warnings
    assert "colourful" in warning
    assert "colour" in warning.split("specified")[1]


def test_a_plugin_without_hooks_is_reported(install: Install) -> None:
    install("empty", "x = 1", entry="empty")
    (warning,) = Registry().warnings
    assert "@auditkit.hookimpl" in warning


@pytest.mark.parametrize("name", ["mislabel", "sources"])
def test_a_second_plugin_under_a_taken_name_is_reported(install: Install, name: str) -> None:
    install("a-usurper", AUDIT, entry=name)
    registry = Registry()
    (warning,) = registry.warnings
    assert f"'{name}' of the distribution a-usurper" in warning
    assert DISTRIBUTION in warning
    assert names(registry, "shadowed") == {name}
    assert "count" not in registry.audits
    assert "mislabel" in registry.audits


def test_of_two_audits_of_one_name_the_second_is_refused_naming_both(install: Install) -> None:
    install("counting", AUDIT, entry="one")
    install("recounting", AUDIT, entry="two")
    registry = Registry()
    (warning,) = registry.warnings
    assert "the distribution counting" in warning
    assert "the distribution recounting" in warning
    origin = registry.origin(registry.audit("count"))
    assert origin is not None
    assert origin.distribution == "counting"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return [Count]", "return Count", "expected a sequence"),
        ("return [Count]", "return ['count']", "subclass of auditkit.Audit"),
        ("return [Count]", "1 / 0", "ZeroDivisionError"),
        ('"count", "Count"', '"", "Count"', "Count.name is ''"),
        ("settings = CountSettings", "pass", "Count.settings"),
    ],
)
def test_broken_audits_cost_a_warning_that_names_the_plugin(
    install: Install, old: str, new: str, said: str
) -> None:
    install("counting", AUDIT.replace(old, new), entry="counter")
    registry = Registry()
    (warning,) = registry.warnings
    assert "'counter' of the distribution counting 1.2.3" in warning
    assert said in warning
    assert "mislabel" in registry.audits


def test_the_environment_names_the_only_plugins(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("counting", AUDIT, entry="counter")
    for value, audits in (("counter", {"count"}), ("", set()), (" mislabel , counter ", None)):
        monkeypatch.setenv(ENVIRONMENT, value)
        registry = Registry()
        assert set(registry.audits) == ({"count", "mislabel"} if audits is None else audits)
        assert "sources" in names(registry, "active")
        assert registry.warnings == []
    monkeypatch.setenv(ENVIRONMENT, "countre")
    (warning,) = Registry().warnings
    assert "did you mean 'counter'?" in warning


def test_plugins_are_left_out_by_name(install: Install) -> None:
    install("counting", AUDIT, entry="counter")
    registry = Registry(without=["mislabel"])
    assert "count" in registry.audits
    assert "mislabel" not in registry.audits
    assert names(registry, "off") == {"mislabel"}
    with pytest.raises(UnknownNameError, match="did you mean 'mislabel'"):
        Registry(without=["mislable"])


def test_an_unknown_audit_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mislabel'"):
        Registry().audit("mislable")


LOADER = """
    import auditkit
    from auditkit.testing import tiny_subject

    @auditkit.hookimpl
    def load_subject(reference, options):
        if reference.startswith("tiny:"):
            return tiny_subject(examples=int(reference[5:]), epochs=1, seed=options.seed)
        if reference == "bad:":
            return 3
        if reference == "worse:":
            raise KeyError("lost")
        if reference == "refused:":
            raise auditkit.errors.DataError("No.")
"""


def test_a_plugin_may_read_references_of_its_own(install: Install) -> None:
    install("loading", LOADER, entry="loader")
    registry = Registry()
    assert len(registry.load_subject("tiny:60", SourceOptions()).train) == 60
    with pytest.raises(PluginError, match=r"'loader' of the distribution loading.*gave a int"):
        registry.load_subject("bad:", SourceOptions())
    with pytest.raises(PluginError, match=r"KeyError: 'lost'.*--no-plugin loader"):
        registry.load_subject("worse:", SourceOptions())
    with pytest.raises(DataError, match=r"^No\.$"):
        registry.load_subject("refused:", SourceOptions())


def test_auditkits_own_sources_are_asked_last(install: Install, tmp_path: Path) -> None:
    install(
        "loading", LOADER.replace('"tiny:"', '""').replace("int(reference[5:])", "60"), entry="x"
    )
    (tmp_path / "subject.py").write_text("subject = None")
    reference = f"{tmp_path / 'subject.py'}:subject"
    assert isinstance(Registry().load_subject(reference, SourceOptions()), Subject)


class Heard:
    """Progress that remembers what was told to it."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    @contextmanager
    def step(self, description: str, total: int) -> Iterator[Step]:
        self.steps.append(description)
        with SILENT.step(description, total) as step:
            yield step


def test_the_model_made_for_data_without_one_says_how_far_it_is(tmp_path: Path) -> None:
    rows = "".join(f"{place % 7 + 0.5},{'ab'[place % 2]}\n" for place in range(40))
    (tmp_path / "table.csv").write_text("x,y\n" + rows)
    heard = Heard()
    Registry().load_subject(str(tmp_path / "table.csv"), SourceOptions(label="y", progress=heard))
    assert "training a model" in heard.steps


def test_a_reference_nobody_knows_is_one_sentence() -> None:
    with pytest.raises(SubjectReferenceError, match="'nowhere'"):
        Registry(without=["sources"]).load_subject("nowhere", SourceOptions())


SECTIONS = """
    import auditkit, click

    @auditkit.hookimpl
    def report_sections(audit):
        return [auditkit.Section(f"More on {audit}"), "no section"]

    @auditkit.hookimpl
    def commands():
        return [click.Command("extra", help="An extra command.")]

    @auditkit.hookimpl
    def audit_finished(run):
        raise OSError("no network")
"""


def test_sections_and_commands_of_plugins_are_collected_and_what_fails_is_told(
    install: Install,
) -> None:
    install("decorating", SECTIONS, entry="decor")
    registry = Registry()
    result = AuditResult(Findings.ranked(["a"], np.zeros(1)), answer="", rate=0.0)
    sections = registry.report_sections("count", result)
    assert sections == [Section("More on count")]
    assert "'no section'" in registry.warnings[0]
    assert [command.name for command in registry.commands()] == ["extra"]


def test_discovered_plugins_put_auditkits_own_first(install: Install) -> None:
    install("a-first-in-the-alphabet", AUDIT, entry="counter")
    found = [plugin.distribution for plugin in discover()]
    assert found.index(DISTRIBUTION) < found.index("a-first-in-the-alphabet")
