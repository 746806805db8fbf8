import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditkit.errors import PoolError, SubjectReferenceError
from auditkit.hookspecs import SourceOptions
from auditkit.pool import Pool
from auditkit.sources import load
from auditkit.sources.objects import is_object_reference, load_object
from auditkit.subject import Subject

GOOD = """
import numpy as np
from torch import nn
import auditkit
from neighbour import CLASSES

train = auditkit.Pool.from_arrays(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))
task = auditkit.ClassificationTask(nn.Linear(2, 2), class_names=CLASSES)
subject = auditkit.Subject(task=task, train=train)
named = auditkit.Subject(task=task, train=train, name="mine")
number = 7

def make():
    return subject

def make_with(size):
    return subject

def make_number():
    return 7

def fail():
    raise RuntimeError("first line\\nsecond line")

def fail_well():
    auditkit.Pool([])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "neighbour.py").write_text("CLASSES = ('a', 'b')\n")
    (tmp_path / "good.py").write_text(GOOD)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("neighbour", "good", "pack", "raising", "auditkit_subject_good"):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["subject", "make"])
def test_a_subject_or_a_function_that_returns_one(folder: Path, name: str) -> None:
    reference = f"{folder / 'good.py'}:{name}"
    subject = load(reference, SourceOptions())
    assert isinstance(subject, Subject)
    assert isinstance(subject.train, Pool)
    assert subject.task.class_names == ("a", "b")
    assert subject.name == reference


def test_a_name_the_user_gave_stays(folder: Path) -> None:
    assert load_object(f"{folder / 'good.py'}:named").name == "mine"


def test_a_module_is_found_from_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "audited.py").write_text("from good import subject\n")
    assert load_object("pack.audited:subject").train.ids == ("0", "1", "2", "3")
    with pytest.raises(SubjectReferenceError, match=r"no module 'pack\.audit'.*mean 'audited'"):
        load_object("pack.audit:subject")
    with pytest.raises(SubjectReferenceError, match=r"no module 'godo'.*did you mean 'good'"):
        load_object("godo:subject")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("subjet", "has nothing called 'subjet': did you mean 'subject'"),
        ("zzz", "known: .*make.*subject"),
        ("number", "object of type int: expected an auditkit.Subject, or a function"),
        ("make_number", "object of type int: expected"),
        ("make_with", "needs arguments.*'size'"),
        ("fail", r"raised RuntimeError: first line \(line \d+ of good\.py\)"),
    ],
)
def test_what_is_no_subject_is_one_sentence(folder: Path, name: str, message: str) -> None:
    with pytest.raises(SubjectReferenceError, match=message) as caught:
        load_object(f"{folder / 'good.py'}:{name}")
    assert "\n" not in str(caught.value)


def test_an_error_of_auditkit_in_the_users_code_stays_what_it_is(folder: Path) -> None:
    with pytest.raises(PoolError, match=r"pool is empty"):
        load_object(f"{folder / 'good.py'}:fail_well")


def test_a_file_that_does_not_exist_names_its_neighbour(folder: Path) -> None:
    with pytest.raises(SubjectReferenceError, match=r"no Python file .*did you mean 'good\.py'"):
        load_object(f"{folder / 'goood.py'}:subject")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n1 / 0\n", r"raised ZeroDivisionError: .*\(line 2 of raising\.py\)"),
        ("x = (\n", r"raised SyntaxError: .*\(line 1 of raising\.py\)"),
        ("import nowhere_at_all\n", "raised ModuleNotFoundError: .*'nowhere_at_all'.*line 1"),
        ("raise SystemExit(3)\n", r"raised SystemExit: 3 \(line 1"),
    ],
)
def test_a_module_that_raises_says_what_and_where(folder: Path, code: str, message: str) -> None:
    (folder / "raising.py").write_text(code)
    with pytest.raises(SubjectReferenceError, match=message):
        load_object(f"{folder / 'raising.py'}:subject")
    assert "auditkit_subject_raising" not in sys.modules


def test_which_references_name_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_object_reference("package.module:name")
    assert is_object_reference("some/file.py:name")
    assert not is_object_reference("table.csv")
    assert not is_object_reference("some/odd:name.csv")
    Path("a:b").touch()
    assert not is_object_reference("a:b")
