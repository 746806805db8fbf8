from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("counting")


def test_every_plugin_is_listed_with_its_distribution_and_hooks(
    auditkit: Command, install: Callable[..., None]
) -> None:
    install("brittle", "raise RuntimeError('out of order')", entry="brittle")
    outcome = auditkit("plugins", "list", "--json")
    assert outcome.returncode == 0
    listed = {plugin["name"]: plugin for plugin in json.loads(outcome.stdout)}
    assert listed["counter"] == {
        "name": "counter", "distribution": "counting", "version": "1.2.3", "hooks": ["audits"],
        "status": "active", "reason": "",
    }  # fmt: skip
    assert listed["mislabel"]["distribution"] == "auditkit-influence"
    assert listed["sources"]["hooks"] == ["load_subject"]
    assert listed["brittle"]["status"] == "broken"
    assert "out of order" in listed["brittle"]["reason"]
    table = auditkit("plugins", "list")
    assert "counting" in table.stdout
    assert "Warning: The plugin 'brittle'" in table.stderr


def test_what_is_switched_off_is_listed_as_such(auditkit: Command) -> None:
    listed = json.loads(auditkit("--no-plugin", "counter", "plugins", "list", "--json").stdout)
    assert {plugin["name"]: plugin["status"] for plugin in listed}["counter"] == "off"
