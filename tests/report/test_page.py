from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from auditkit.report.page import (
    core_templates,
    environment,
    policy,
    script_element,
    scripts,
    style,
    style_element,
)


def test_the_policy_names_what_is_embedded_and_nothing_else() -> None:
    found = policy(style(), scripts())
    for text in (style(), *scripts()):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in found
    assert found.startswith("default-src 'none'; ")
    assert "unsafe" not in found
    assert "http" not in found
    assert "*" not in found


def test_nothing_embedded_can_end_or_hide_the_end_of_its_element() -> None:
    for text in (style(), *scripts()):
        for mark in ("</script", "</style", "<!--", "\r"):
            assert mark not in text.lower()
    assert script_element("1").endswith("1</script>")
    assert style_element("a{}").endswith("a{}</style>")


def test_the_stylesheet_asks_for_nothing() -> None:
    assert "url(" not in style()
    assert "@import" not in style()


def test_templates_escape_and_refuse_undefined_names(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("{{ text }}{{ missing }}")
    template = environment({"own": tmp_path}).get_template("own/own.txt")
    with pytest.raises(UndefinedError, match="missing"):
        template.render(text="")
    assert template.render(text="<i>", missing="'") == "&lt;i&gt;&#39;"


def test_a_plugin_cannot_take_the_place_of_the_core(tmp_path: Path) -> None:
    (tmp_path / "section.html").write_text("mine")
    templates = environment({"auditkit": tmp_path})
    source = (core_templates() / "section.html").read_text(encoding="utf-8")
    assert templates.loader is not None
    assert templates.loader.get_source(templates, "auditkit/section.html")[0] == source
