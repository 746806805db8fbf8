"""What the documentation shows can be done: its Python runs, and its commands exist.

In a page, a block of Python with a title is written to a file of that name, and one without is
run, all of one page in one namespace. A block of commands after `<!-- run -->` is run too; of the
others every line that calls auditkit is parsed by the real command line. `<!-- not run: REASON -->`
excuses a block of Python.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

import auditkit
from auditkit.cli import main
from auditkit.cli.main import auditkit as command_line

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_INCLUDE = re.compile(r"^--8<--\n(.+)\n--8<--$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the comment on the line before it."""

    language: str
    title: str | None
    body: str
    comment: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, with what they include."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        above = text[: found.start()].rstrip("\n").rpartition("\n")[2]
        body = _INCLUDE.sub(lambda name: (DOCS / name[1]).read_text().rstrip(), found["body"])
        line = text.count("\n", 0, found.start()) + 2
        yield Block(found["language"], found["title"], body, above.strip(), line)


def runs(block: Block) -> bool:
    if block.language == "python":
        return not block.comment.startswith("<!-- not run: ")
    return block.language == "sh" and block.comment == "<!-- run -->"


def of(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUNNING = [page for page in PAGES if any(runs(block) for block in blocks(page))]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the example files, whose modules can be imported and are forgotten after."""
    for example in EXAMPLES.glob("*.py"):
        shutil.copy(example, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def example_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plugin of the documentation, installed as its pyproject.toml says."""
    source = EXAMPLES / "unstable"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site-packages"
    shutil.copytree(source, site, ignore=shutil.ignore_patterns("__pycache__"))
    named = project["name"].replace("-", "_")
    installed = site / f"{named}-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [f"{name} = {value}" for name, value in project["entry-points"]["auditkit"].items()]
    (installed / "entry_points.txt").write_text("\n".join(["[auditkit]", *points, ""]))
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name in [name for name in sys.modules if name.startswith(named)]:
        del sys.modules[name]


@pytest.mark.parametrize("page", RUNNING, ids=of)
@pytest.mark.usefixtures("example_plugin")
def test_what_a_page_shows_runs(
    page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, object] = {"__name__": "documentation"}
    for block in blocks(page):
        if block.title is not None and block.language == "python":
            target = workplace / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.body)
        elif block.language == "python" and runs(block):
            code = compile("\n" * (block.line - 1) + block.body, str(page), "exec")
            exec(code, namespace)
        elif runs(block):
            for command in block.body.splitlines():
                run_command(command, capsys)


def run_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(command)
    if program == "python":
        runpy.run_path(arguments[0], run_name="__main__")
        return
    assert program == "auditkit", command
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    assert end.value.code == 0, f"{command}\n{said.out}\n{said.err}"


def commands() -> list[tuple[str, str]]:
    """Every line of a block of commands that calls auditkit, and where it stands."""
    return [
        (f"{of(page)}: {line}", line)
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh"
        for line in block.body.splitlines()
        if re.match(r"([A-Z_]+=\S* )*auditkit ", line)
    ]


def test_the_documentation_shows_commands() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize("line", [line for _, line in commands()], ids=[at for at, _ in commands()])
@pytest.mark.usefixtures("example_plugin")
def test_a_command_shown_is_one_there_is(line: str) -> None:
    words = shlex.split(line)
    arguments = words[words.index("auditkit") + 1 :]
    parse(command_line, "auditkit", arguments, None)


def parse(
    command: click.Command, name: str, arguments: list[str], parent: click.Context | None
) -> None:
    """Parse arguments as the command does, down to the last subcommand, and run nothing."""
    context = command.make_context(name, arguments, parent=parent)
    if isinstance(command, click.Group):
        # What a group leaves over begins with the name of a subcommand.
        rest = [*context._protected_args, *context.args]
        found_name, found, left = command.resolve_command(context, rest)
        assert found is not None
        parse(found, str(found_name), left, context)


@pytest.mark.usefixtures("workplace", "example_plugin")
def test_the_plugin_adds_an_audit_and_a_section() -> None:
    from auditkit.registry import Registry

    registry = Registry()
    assert [w for w in registry.warnings if "unstable" in w] == []
    origin = registry.origin(registry.audit("unstable"))
    assert origin is not None
    assert str(origin) == "'unstable' of the distribution auditkit-unstable 0.1.0"

    run = auditkit.run("unstable", small_subject(), settings={"folds": 2, "epochs": 1})
    report = run.report.read_text(encoding="utf-8")
    assert "How much is lost" in report
    assert run.record.rate == run.findings.frame["flagged"].mean()
    assert run.record.versions["auditkit-unstable"] == "0.1.0"

    run = auditkit.run("mislabel", small_subject(), settings={"folds": 2, "epochs": 1})
    assert "House rule" in run.report.read_text(encoding="utf-8")


def small_subject() -> auditkit.Subject:
    """Three hundred of the digits and a network that has not been trained: enough to run on."""
    from train import load_data, make_model

    images, labels = load_data()
    return auditkit.Subject(
        task=auditkit.ClassificationTask(make_model()),
        train=auditkit.Pool.from_arrays(images[:300], labels[:300]),
        recipe=auditkit.Recipe(learning_rate=1e-3),
    )


@pytest.mark.usefixtures("workplace")
def test_the_columns_of_mislabel_are_documented() -> None:
    run = auditkit.run("mislabel", small_subject(), settings={"folds": 2, "epochs": 1})
    page = (DOCS / "reference" / "run-folder.md").read_text(encoding="utf-8")
    for name, dtype in run.findings.frame.schema.items():
        assert f"| `{name}` | {dtype} |" in page
