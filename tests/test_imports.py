"""Imports go one way, and what must be quick to import does not bring torch."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import auditkit

ROOT = Path(__file__).parents[1]
CORE = ROOT / "auditkit"
PLUGINS = ROOT / "plugins"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors",
        "choices memory progress preview pool standing scores findings",
        "showing results subject labelling context audit declarations",
        "tasks training batches checks seeds devices fingerprint gradients",
        "engine sources",
        "truth executors",
        "hookspecs plugins registry",
        "store record factors",
        "report calibrating pipeline demo",
        "cli",
        "testing __main__",
    )
)
"""What stands in a line may import from its own line and those above it."""

NAMES = set(auditkit.__all__) - {"errors"}
"""The public names that are no modules."""

QUICK = sorted(
    set().union(*LAYERS[:3], {"hookspecs", "plugins", "registry", "store"}, {"cli", "testing"})
)
"""What imports without torch, the packages with all their modules."""


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imported(tree: ast.AST, *, package: str = "auditkit") -> Iterator[str]:
    """The modules a file imports, at run time, wherever the import stands."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.dump(tree.test):
        return
    if isinstance(tree, ast.Import):
        yield from (name.name for name in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, "relative import"
        for name in tree.names:
            yield f"{tree.module}.{name.name}" if tree.module == package else str(tree.module)
    for child in ast.iter_child_nodes(tree):
        yield from imported(child, package=package)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def layer(name: str) -> int:
    """The line in which a module of auditkit stands."""
    part = name.removeprefix("auditkit.").split(".")[0]
    found = [place for place, names in enumerate(LAYERS) if part in names]
    assert found, f"say in LAYERS where auditkit.{part} stands"
    return found[0]


@pytest.mark.parametrize("path", files(CORE), ids=lambda path: str(path.relative_to(CORE)))
def test_imports_go_one_way(path: Path) -> None:
    inside = path.relative_to(CORE)
    if inside == Path("__init__.py"):
        return  # it gives every public name, and imports none before it is asked for
    own = layer(inside.parts[0].removesuffix(".py"))
    for name in imported(parse(path)):
        assert not name.startswith("auditkit_"), f"the core imports the plugin {name}"
        if name.startswith("auditkit.") and name.split(".")[1] in NAMES:
            pytest.fail(f"{inside} imports {name} from the package: name the module it lives in")
        if name.startswith("auditkit."):
            assert layer(name) <= own, f"{inside} imports {name}, which stands below it"


@pytest.mark.parametrize("path", files(PLUGINS), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_plugins_import_public_names_only(path: Path) -> None:
    package = path.relative_to(PLUGINS).parts[0]
    for name in imported(parse(path)):
        first = name.split(".")[0]
        if first == "auditkit":
            public = {f"auditkit.{each}" for each in auditkit.__all__} | {"auditkit.testing"}
            assert name in public or name.startswith(("auditkit.errors", "auditkit.truth")), name
        else:
            assert first == package or not first.startswith("auditkit_"), name


@pytest.mark.parametrize(
    "path",
    [*files(CORE / "engine"), *files(CORE / "truth")],
    ids=lambda path: str(path.relative_to(CORE)),
)
def test_the_engine_and_truth_know_no_frames_and_no_command_line(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(parse(path))} & {"polars", "click"}


def test_what_must_be_quick_to_import_brings_no_torch() -> None:
    quick = ["auditkit", "auditkit.sources", *(f"auditkit.{name}" for name in QUICK)]
    for package in ("cli", "testing"):
        found = pkgutil.iter_modules([str(CORE / package)])
        quick += [f"auditkit.{package}.{module.name}" for module in found]
    for folder in sorted(PLUGINS.glob("auditkit_*")):
        found = pkgutil.walk_packages([str(folder)], f"{folder.name}.")
        quick += [folder.name, *(module.name for module in found)]
    code = (
        "import importlib, sys\n"
        f"for name in {quick!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import auditkit.pipeline, auditkit.engine",
        "from auditkit.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_what_every_command_imports_brings_nothing_large(code: str) -> None:
    large = (
        "scipy.stats", "scipy.optimize", "sklearn", "pandas", "pyarrow", "altair",
        "torch._dynamo", "transformers", "diffusers",
    )  # fmt: skip
    child = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\n"
         f"sys.exit(' '.join(name for name in {large!r} if name in sys.modules))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.stderr.strip() == ""


def test_every_public_name_is_there_and_typed() -> None:
    for name in auditkit.__all__:
        assert getattr(auditkit, name) is not None
    typed = {
        alias.asname or alias.name
        for node in ast.walk(parse(CORE / "__init__.py"))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(auditkit.__all__) - {"__version__"} <= typed
    assert dir(auditkit) == sorted(auditkit.__all__)
    with pytest.raises(AttributeError, match="'auditkit' has no attribute 'Poool'"):
        _ = auditkit.Poool  # type: ignore[attr-defined]
