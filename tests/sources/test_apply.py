import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from auditkit.errors import (
    AuditkitError,
    ColumnError,
    PoolError,
    SettingError,
    StoreError,
    SubjectReferenceError,
    UnknownNameError,
    UnreadableError,
)
from auditkit.hookspecs import SourceOptions
from auditkit.sources.apply import AppliedCounts, apply_decisions
from auditkit.sources.folders import list_images
from auditkit.sources.labelled import read_labelled

CSV = (
    '\ufeffcode;name;label\r\n007;"a;b";1.0\r\n008;"say ""hi""";2.0\r\n009;=1+1;1.0\r\n010;;2.0\r\n'
)


@pytest.fixture
def decide(tmp_path: Path) -> Callable[..., Path]:
    def make(*rows: tuple[str, str, str | None]) -> Path:
        path = tmp_path / "decisions.csv"
        names = ("example_id", "decision", "suggested_label")
        schema = dict.fromkeys(names, pl.String)
        pl.DataFrame(list(rows), schema=schema, orient="row").write_csv(path)
        return path

    return make


def sums(root: Path) -> dict[str, str]:
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


def test_a_csv_file_keeps_its_separator_and_every_other_cell(
    tmp_path: Path, decide: Callable[..., Path]
) -> None:
    data, out = tmp_path / "a.csv", tmp_path / "b.csv"
    data.write_bytes(CSV.encode())
    before = sums(data)
    decisions = decide(("008", "fix", "1"), ("009", "drop", "2"), ("010", "keep", "1"))
    done = apply_decisions(decisions, data, out, id_column="code", label="label")
    assert done == AppliedCounts(kept=2, fixed=1, dropped=1)
    assert str(done) == "Labels fixed: 1; dropped: 1; kept: 2."
    lines = out.read_text(encoding="utf-8-sig").splitlines()
    assert lines == ["code;name;label", '007;"a;b";1.0', '008;"say ""hi""";1.0', "010;;2.0"]
    assert sums(data) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv", "decisions.csv"]


def test_row_numbers_are_those_of_the_audit(tmp_path: Path, decide: Callable[..., Path]) -> None:
    data, out = tmp_path / "a.csv", tmp_path / "b.csv"
    data.write_text("x,y\n1,a\n2,\n3,b\n4,a\n5,b\n")
    ids = read_labelled(data, SourceOptions(label="y")).ids
    assert ids == ("0", "2", "3", "4")
    apply_decisions(decide((ids[1], "fix", "a")), data, out, id_column=None, label="y")
    assert out.read_text() == "x,y\n1,a\n2,\n3,a\n4,a\n5,b\n"


def test_parquet_keeps_its_types(tmp_path: Path, decide: Callable[..., Path]) -> None:
    data, out = tmp_path / "a.parquet", tmp_path / "b.parquet"
    frame = pl.DataFrame({"x": [[1], [2], [3], [4]], "y": pl.Series([5, 6, 5, 6], dtype=pl.Int8)})
    frame.write_parquet(data)
    decisions = decide(("0", "fix", "6"), ("1", "fix", "5"), ("2", "fix", "9"), ("3", "drop", None))
    apply_decisions(decisions, data, out, id_column=None, label="y")
    copy = pl.read_parquet(out)
    assert copy.schema == frame.schema
    assert copy["y"].to_list() == [6, 5, 9]
    out.unlink()
    with pytest.raises(ColumnError, match=r"holds Int8 and cannot hold the suggested label 'six'"):
        apply_decisions(decide(("0", "fix", "six")), data, out, id_column=None, label="y")
    assert not out.exists()


def test_other_lines_of_ndjson_stay_byte_for_byte(
    tmp_path: Path, decide: Callable[..., Path]
) -> None:
    data, out = tmp_path / "a.ndjson", tmp_path / "b.ndjson"
    lines = ['{"y": true,  "t": "\u2028ü"}', '{"t": "<b>", "y": false}', '{"y": false, "n": 1.50}']
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    decisions = decide(("1", "fix", "true"), ("2", "keep", None))
    apply_decisions(decisions, data, out, id_column=None, label="y")
    copy = out.read_text(encoding="utf-8").split("\n")
    assert (copy[0], copy[2]) == (lines[0], lines[2])
    assert json.loads(copy[1]) == {"t": "<b>", "y": True}


def test_images_move_to_their_class_and_never_replace_another(
    image_folder: Callable[..., Path], tmp_path: Path, decide: Callable[..., Path]
) -> None:
    root, out = image_folder(count=3), tmp_path / "copy"
    (root / "notes.txt").write_text("kept")
    (root / "dark" / ".hidden").touch()
    before = sums(root)
    decisions = decide(
        ("dark/000.png", "fix", "bright"), ("dark/001.png", "drop", None),
        ("dark/002.png", "fix", "new class"), ("bright/001.png", "", None),
    )  # fmt: skip
    done = apply_decisions(decisions, root, out, id_column=None, label=None)
    assert done == AppliedCounts(kept=3, fixed=2, dropped=1)
    assert [image.id for image in list_images(out).images] == [
        "bright/000-from-dark.png", "bright/000.png", "bright/001.png", "bright/002.png",
        "new class/002.png",
    ]  # fmt: skip
    moved = (out / "bright" / "000-from-dark.png").read_bytes()
    assert moved == (root / "dark" / "000.png").read_bytes()
    assert (out / "notes.txt").read_text() == "kept"
    assert sums(root) == before


@pytest.mark.parametrize(
    "label", ["..", ".", "../../etc", "a/b", "a\\b", "/abs", "C:x", ".git", "a\nb", "\u202eb", " "]
)
def test_a_label_that_leads_elsewhere_names_no_folder(
    image_folder: Callable[..., Path], tmp_path: Path, decide: Callable[..., Path], label: str
) -> None:
    root, out = image_folder(count=2), tmp_path / "copy"
    decisions = decide(("dark/000.png", "fix", label))
    with pytest.raises(SettingError, match=r"cannot name a class folder"):
        apply_decisions(decisions, root, out, id_column=None, label=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decisions.csv", "pictures"]


def test_a_link_out_of_the_folder_is_not_copied(
    image_folder: Callable[..., Path], tmp_path: Path, decide: Callable[..., Path]
) -> None:
    root, out = image_folder(count=2), tmp_path / "copy"
    (tmp_path / "secret.png").write_text("secret")
    (root / "dark" / "leak.png").symlink_to(tmp_path / "secret.png")
    (root / "dark" / "gone.png").symlink_to(root / "nothing.png")
    apply_decisions(decide(), root, out, id_column=None, label=None)
    assert len(list(out.rglob("*.png"))) == 4


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([("9", "drop", None)], UnknownNameError, "decisions on '9', and a.csv holds no example"),
        (
            [("0", "delete", None)],
            SettingError,
            "Line 2 .* decision 'delete' on '0': expected keep",
        ),
        ([("0", "fix", None)], SettingError, "Line 2 .* fixes '0' and has no suggested_label"),
        ([("0", "keep", None), ("0", "drop", None)], SettingError, "Line 3 .* second, different"),
    ],
)
def test_decisions_that_cannot_be_carried_out_write_nothing(
    tmp_path: Path,
    decide: Callable[..., Path],
    rows: list[tuple[str, str, str | None]],
    error: type[AuditkitError],
    message: str,
) -> None:
    data = tmp_path / "a.csv"
    data.write_text("x,y\n1,a\n2,b\n")
    with pytest.raises(error, match=message):
        apply_decisions(decide(*rows), data, tmp_path / "b.csv", id_column=None, label="y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "decisions.csv"]


def test_places_and_columns_are_checked(
    image_folder: Callable[..., Path], tmp_path: Path, decide: Callable[..., Path]
) -> None:
    data, out, root = tmp_path / "a.csv", tmp_path / "b.csv", image_folder(count=2)
    data.write_text("x,y\n1,a\n1,b\n")
    fix = decide(("0", "fix", "b"))

    def refused(
        error: type[AuditkitError],
        message: str,
        source: Path = data,
        to: Path = out,
        *,
        id_column: str | None = None,
        label: str | None = "y",
    ) -> None:
        with pytest.raises(error, match=message):
            apply_decisions(fix, source, to, id_column=id_column, label=label)

    refused(SettingError, "something at .* already", to=root)
    refused(SettingError, "end it with .csv", to=tmp_path / "b.parquet")
    refused(SettingError, "There is no folder", to=tmp_path / "no" / "b.csv")
    refused(SettingError, "must not change", source=root, to=root / "dark" / "copy", label=None)
    refused(SettingError, "leave out --id and --label", source=root, to=tmp_path / "copy")
    refused(SubjectReferenceError, "neither a table", source=tmp_path / "no.csv")
    refused(SettingError, "name the column that holds them with --label", label=None)
    refused(ColumnError, "no column 'z' for labels", label="z")
    refused(PoolError, "column 'x' of a.csv are not unique", id_column="x")
    assert not out.exists()


def test_a_file_without_decisions_is_refused(tmp_path: Path) -> None:
    data, path = tmp_path / "a.csv", tmp_path / "d.csv"
    data.write_text("x,y\n1,a\n")
    for content, error in (("", ColumnError), ("exampleid,decision\n", ColumnError)):
        path.write_text(content)
        with pytest.raises(error, match=r"example_id"):
            apply_decisions(path, data, tmp_path / "b.csv", id_column=None, label="y")
    with pytest.raises(UnreadableError, match=r"cannot be read"):
        apply_decisions(tmp_path / "no", data, tmp_path / "b.csv", id_column=None, label="y")


def test_a_copy_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, decide: Callable[..., Path]
) -> None:
    data, out = tmp_path / "a.csv", Path("/proc/b.csv")
    data.write_text("x,y\n1,a\n")
    if not out.parent.is_dir():
        pytest.skip("there is no folder here that nobody can write to")
    with pytest.raises(StoreError, match=r"could not be written to /proc/b.csv"):
        apply_decisions(decide(), data, out, id_column=None, label=None)


def test_the_apostrophe_that_guards_cells_from_spreadsheets_is_taken_off(
    tmp_path: Path, decide: Callable[..., Path]
) -> None:
    data, out = tmp_path / "a.csv", tmp_path / "b.csv"
    data.write_text("code,label\n=1+1,a\n'quoted,b\nplain,c\n")
    decisions = decide(("'=1+1", "fix", "'-b"), ("''quoted", "drop", None), ("plain", "keep", None))
    apply_decisions(decisions, data, out, id_column="code", label="label")
    assert out.read_text().splitlines() == ["code,label", "=1+1,-b", "plain,c"]
