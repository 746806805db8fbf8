from pathlib import Path

import polars as pl
import pytest

from auditkit.errors import ColumnError, PoolError, UnreadableError
from auditkit.sources.frames import column, read_frame, row_ids, separator


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_types_come_from_all_rows_and_ids_stay_text(tmp_path: Path) -> None:
    late = "id,x\n" + "".join(f"{row:04d},{row}\n" for row in range(300)) + "0300,0.5\n"
    frame = read_frame(write(tmp_path, "a.csv", late), verbatim=["id", None])
    assert frame.schema == {"id": pl.String(), "x": pl.Float64()}
    assert row_ids(frame, "id", table="a.csv")[7] == "0007"
    assert row_ids(frame, None, table="a.csv")[7] == "7"


def test_missing_cells_by_every_usual_name_but_not_nan(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, "a.csv", "x,y\n1.5,a\nNA,\nn/a,null\nNaN,None\n"))
    assert frame["x"].null_count() == 2
    assert frame["x"].is_nan().sum() == 1
    assert frame["y"].to_list() == ["a", None, None, "None"]


def test_semicolons_tabs_and_byte_order_marks(tmp_path: Path) -> None:
    semicolons = write(tmp_path, "a.csv", b"\xef\xbb\xbfx;y\r\n1;2\r\n")
    assert separator(semicolons) == ";"
    assert read_frame(semicolons).rows() == [(1, 2)]
    assert read_frame(semicolons).columns == ["x", "y"]
    assert read_frame(write(tmp_path, "a.tsv", "x\ty\n1\t2,5\n")).rows() == [(1, "2,5")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"x,y\n1,2,3\n"),
        ("b.csv", b""),
        ("c.csv", b"x,y\n\xff\xfe,2\n"),
        ("d.parquet", b"not parquet"),
        ("e.ndjson", b"{broken"),
    ],
)
def test_broken_tables_are_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(UnreadableError, match=f"{name} cannot be read as a table") as caught:
        read_frame(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", r"line 3 is no JSON \(Expecting"),
        ("[1]", "line 3 is a JSON list, not an object"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path, "a.jsonl", f'{{"x": 1}}\n\n{line}\n')
    with pytest.raises(UnreadableError, match=said):
        read_frame(path)


def test_tables_without_rows_are_refused(tmp_path: Path) -> None:
    for content in ("", "\n\n"):
        with pytest.raises(PoolError, match=r"has no rows"):
            read_frame(write(tmp_path, "a.jsonl", content))
    with pytest.raises(PoolError, match=r"has no rows"):
        read_frame(write(tmp_path, "a.csv", "x,y\n"))
    pl.DataFrame({"x": []}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(PoolError, match=r"has no rows"):
        read_frame(tmp_path / "a.parquet")


def test_a_missing_column_names_the_nearest_and_a_missing_id_its_row() -> None:
    frame = pl.DataFrame({"species": ["a", None]})
    with pytest.raises(ColumnError, match=r"no column 'specis' for labels: did you mean 'species'"):
        column(frame, "specis", table="a.csv", role="labels")
    with pytest.raises(PoolError, match=r"Row 1 of a.csv has no id in the column 'species'"):
        row_ids(frame, "species", table="a.csv")
