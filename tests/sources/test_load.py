import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest

from auditkit.errors import SettingError, SubjectReferenceError, UnreadableError
from auditkit.hookspecs import SourceOptions
from auditkit.sources import _IN_CODE, load
from auditkit.subject import Subject


def test_importing_sources_and_apply_brings_neither_torch_nor_skrub() -> None:
    code = (
        "import sys, auditkit.sources, auditkit.sources.apply;"
        "print([name for name in ('torch', 'skrub', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_missing_path_names_its_most_similar_neighbour(tmp_path: Path) -> None:
    (tmp_path / "penguins.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SubjectReferenceError, match=r"nothing at .*did you mean 'penguins\.csv'"):
        load(str(tmp_path / "pengiuns.csv"), SourceOptions(label="a"))


def test_a_path_in_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(SubjectReferenceError, match=r"there is no folder"):
        load(str(tmp_path / "no" / "table.csv"), SourceOptions())


@pytest.mark.parametrize("name", ["data.pkl", "data.PICKLE", "data.pt", "model.pth", "x.joblib"])
def test_pickles_are_refused_with_the_reason_and_never_opened(tmp_path: Path, name: str) -> None:
    witness = tmp_path / "ran"
    (tmp_path / name).write_bytes(b"cposix\nsystem\n(S'touch " + bytes(witness) + b"'\ntR.")
    with pytest.raises(UnreadableError, match=r"pickle.*could run code"):
        load(str(tmp_path / name), SourceOptions())
    assert not witness.exists()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("data.xlsx", SubjectReferenceError, r"extension '\.xlsx', which is not read"),
        ("data", SubjectReferenceError, r"extension '\(none\)'"),
        ("code.py", SubjectReferenceError, r"code\.py:name"),
        ("one.png", SubjectReferenceError, "is one image: give a folder"),
        ("vectors.npy", SettingError, "add --embeddings"),
    ],
)
def test_a_file_of_another_kind_says_what_is_expected(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(error, match=message):
        load(str(tmp_path / name), SourceOptions())


def test_options_that_mean_nothing_for_the_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"--drop was given, and the subject is a folder"):
        load(str(tmp_path), SourceOptions(drop=("a",)))
    with pytest.raises(SettingError, match=r"--text was given, and embeddings hold numbers"):
        load(str(tmp_path), SourceOptions(embeddings=True, text="a"))


@pytest.mark.parametrize("diffusion", [False, True])
@pytest.mark.parametrize(
    ("given", "called", "part"),
    [
        ({"label": "y"}, "--label", "train"),
        ({"drop": ("y",)}, "--drop", "train"),
        ({"trusted": Path("a.csv")}, "--trusted", "queries"),
        ({"evaluation": Path("a.csv")}, "A second path", "queries"),
        ({"model_folder": Path("gpt")}, "--model", "task"),
        ({"base": Path("gpt")}, "--base", "pretrained"),
        ({"checkpoints": (Path("gpt"),)}, "--checkpoint", "checkpoints"),
        ({"generated": (Path("a.png"),)}, "--query", "queries"),
        ({"condition": "cats"}, "--class", "queries"),
        ({"prompt": "a cat"}, "--prompt", "queries"),
    ],
)
def test_a_python_object_says_itself_what_options_say_of_files(
    given: dict[str, object], called: str, part: str, diffusion: bool
) -> None:
    with pytest.raises(SettingError) as caught:
        load("some.module:subject", SourceOptions(diffusion=diffusion, **given))  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"{called} was given, and the subject is a Python object, which says that itself: leave it "
        f"out, and set `Subject({part}=...)` in some.module:subject."
    )


def test_each_option_that_says_what_the_data_is_has_its_place_in_code() -> None:
    how = {
        "model",
        "unlabelled",
        "language",
        "diffusion",
        "seed",
        "device",
        "batch_size",
        "progress",
    }
    assert {field.name for field in fields(SourceOptions)} == {*_IN_CODE, *how}
    assert set(_IN_CODE.values()) <= {field.name for field in fields(Subject)}


def test_a_trusted_and_an_evaluation_set_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pl.DataFrame({"x": [1, 2], "y": ["a", "b"]}).write_csv(path)
    with pytest.raises(SettingError, match=r"one set of queries"):
        load(str(path), SourceOptions(label="y", trusted=path, evaluation=path))


def test_a_path_with_a_nul_character_is_one_sentence() -> None:
    with pytest.raises(SubjectReferenceError):
        load("a\0b", SourceOptions())
