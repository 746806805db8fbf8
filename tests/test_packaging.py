"""What is shipped, and what importing and asking for help costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """The files of the sdist and of the wheel built from it, without their version folders."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    with tarfile.open(sdist) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    with zipfile.ZipFile(wheel) as packed:
        return inside, set(packed.namelist())


def in_checkout(folder: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_core_the_plugins_and_the_templates(
    built: tuple[set[str], set[str]],
) -> None:
    _, wheel = built
    plugins = {name.removeprefix("plugins/") for name in in_checkout("plugins")}
    templates = {f"auditkit/{name}" for name in in_checkout("templates")}
    shipped = {name for name in plugins if "/" in name}
    assert in_checkout("auditkit") | shipped | templates <= wheel
    assert "auditkit/py.typed" in wheel
    assert "auditkit_mislabel/__init__.py" in wheel


def test_the_wheel_holds_nothing_else(built: tuple[set[str], set[str]]) -> None:
    _, wheel = built
    top = {name.split("/")[0] for name in wheel}
    own = {path.name for path in (ROOT / "plugins").glob("auditkit_*")}
    assert top == {"auditkit", *own} | {name for name in top if name.endswith(".dist-info")}
    assert not {name for name in wheel if "test_" in name or "conftest" in name}


def test_the_sdist_holds_the_sources_and_no_environment(
    built: tuple[set[str], set[str]],
) -> None:
    sdist, _ = built
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt"} <= sdist
    assert in_checkout("tests") <= sdist
    assert not {name for name in sdist if name.startswith((".venv", ".ci", "site/", "runs/"))}
    assert not {name for name in sdist if "__pycache__" in name or "_cache/" in name}


def test_plugins_are_entry_points(built: tuple[set[str], set[str]]) -> None:
    _, wheel = built
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel)


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python that fails when torch was imported."""
    code = (
        "import atexit, sys\n"
        "@atexit.register\n"
        "def told(): print('torch' in sys.modules, file=sys.stderr)\n"
        f"sys.argv = ['auditkit', *{list(arguments)!r}]\n"
        "from auditkit.cli import main\n"
        "main()\n"
    )
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_help_brings_no_torch_and_lists_third_parties(install: Callable[..., None]) -> None:
    source = """
        import auditkit

        class Third(auditkit.Audit[auditkit.Settings]):
            name, title, fail_on = "third", "Third", "share"
            question = "Is a third party listed?"
            settings = auditkit.Settings

            def audit(self, context):
                raise NotImplementedError

        @auditkit.hookimpl
        def audits():
            return [Third]
    """
    install("third-party", source, entry="third")
    install("brittle", "raise RuntimeError('out of order')", entry="brittle")
    for arguments in (["--help"], ["mislabel", "--help"]):
        outcome = child(*arguments)
        assert outcome.returncode == 0, outcome.stderr
        warning, torch = outcome.stderr.splitlines()
        assert "'brittle' of the distribution brittle 1.2.3" in warning
        assert torch == "False", arguments
        if arguments == ["--help"]:
            assert "Is a third party listed?" in outcome.stdout
            assert "Which labels are wrong?" in outcome.stdout
