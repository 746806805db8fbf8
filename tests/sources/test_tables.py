from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from auditkit.errors import ColumnError, LabelError, PoolError, SettingError, SubjectReferenceError
from auditkit.hookspecs import SourceOptions
from auditkit.preview import RowPreview, TextPreview
from auditkit.sources import load
from auditkit.subject import Subject


def accuracy(subject: Subject) -> float:
    rows = [subject.train[place] for place in range(len(subject.train))]
    inputs = torch.as_tensor(np.stack([row[0] for row in rows]))
    labels = torch.as_tensor(np.array([row[1] for row in rows]))
    with torch.no_grad():
        return float((subject.task.model(inputs).argmax(dim=1) == labels).float().mean())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "ndjson"])
def test_a_table_becomes_a_subject(every_kind: pl.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    if suffix == "parquet":
        every_kind.write_parquet(path)
    elif suffix == "ndjson":
        every_kind.write_ndjson(path)
    else:
        every_kind.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    subject = load(str(path), SourceOptions(label="species", id="sample_id"))
    assert len(subject.train) == 120
    assert subject.train.ids[7] == "0007"
    assert subject.task.class_names == tuple(sorted(every_kind["species"].unique()))
    inputs, label = subject.train[0]
    assert inputs.dtype == np.float32
    assert subject.task.class_names[label] == every_kind["species"][0]
    assert accuracy(subject) > 0.9
    assert subject.recipe.learning_rate is not None
    assert subject.train.preview(0) == TextPreview(every_kind["remark"][0])
    said = " ".join(subject.description)
    assert "120 rows of 3 classes (species)" in said
    assert "held out" in said
    assert subject.train.metadata.columns == every_kind.columns


def test_the_same_seed_trains_the_same_model(every_kind: pl.DataFrame, tmp_path: Path) -> None:
    every_kind.select("length", "species").write_csv(tmp_path / "a.csv")

    def weights(seed: int) -> torch.Tensor:
        options = SourceOptions(label="species", seed=seed)
        subject = load(str(tmp_path / "a.csv"), options)
        return torch.nn.utils.parameters_to_vector(subject.task.model.parameters()).detach()

    state = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(state, torch.get_rng_state())


def test_rows_without_a_label_are_left_out_and_keep_their_numbers(tmp_path: Path) -> None:
    cells = "".join(f"{row % 7}.5,{'' if row == 3 else 'ab'[row % 2]}\n" for row in range(20))
    (tmp_path / "a.csv").write_text("x,y\n" + cells)
    subject = load(str(tmp_path / "a.csv"), SourceOptions(label="y"))
    assert subject.train.ids[2:4] == ("2", "4")
    assert "Left out: 1 rows of a.csv, without a label." in subject.description
    assert subject.train.preview(0) == RowPreview({"x": "0.5"})


def test_a_trusted_table_becomes_the_queries(every_kind: pl.DataFrame, tmp_path: Path) -> None:
    frame = every_kind.select("sample_id", "length", "seen", "species")
    frame.write_csv(tmp_path / "a.csv")
    frame.head(10).write_parquet(tmp_path / "b.parquet")
    options = SourceOptions(label="species", trusted=tmp_path / "b.parquet", id="sample_id")
    subject = load(str(tmp_path / "a.csv"), options)
    assert subject.queries is not None
    for place in range(10):
        ours, theirs = subject.train[place], subject.queries[place]
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
        assert ours[1] == theirs[1]
    assert "10 rows of b.parquet are the queries." in subject.description
    odd = frame.head(2).with_columns(pl.lit("dodo").alias("species"))
    odd.write_csv(tmp_path / "c.csv")
    with pytest.raises(LabelError, match=r"Example '0000' of c.csv has the label 'dodo'"):
        load(
            str(tmp_path / "a.csv"),
            SourceOptions(label="species", id="sample_id", evaluation=tmp_path / "c.csv"),
        )
    with pytest.raises(SubjectReferenceError, match=r"did you mean 'b\.parquet'"):
        load(str(tmp_path / "a.csv"), SourceOptions(label="species", trusted=tmp_path / "b.paquet"))
    (tmp_path / "b.txt").touch()
    with pytest.raises(SubjectReferenceError, match=r"b\.txt is not a table"):
        load(str(tmp_path / "a.csv"), SourceOptions(label="species", trusted=tmp_path / "b.txt"))


TABLE = "key,x,y,empty,same,price\n" + "".join(
    f"k{row % 30},{row}.5,{'ab'[row % 2]},,one,{row}.25\n" for row in range(31)
)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (SourceOptions(), SettingError, r"Which column of a\.csv holds the labels\?.*key, x, y"),
        (SourceOptions(label="lable"), ColumnError, "has no column 'lable' for labels"),
        (SourceOptions(label="Y"), ColumnError, "for labels: known: empty, key"),
        (SourceOptions(label="empty"), ColumnError, "'empty' of a.csv is empty in every row"),
        (SourceOptions(label="same"), LabelError, "All 31 examples are of one class, 'one'"),
        (SourceOptions(label="price"), LabelError, "31 different numbers in 31 rows, a quantity"),
        (SourceOptions(label="key"), LabelError, "Class 'k1' has one example"),
        (SourceOptions(label="y", id="key"), PoolError, "id 'k0' stands 2 times"),
        (SourceOptions(label="y", id="nope"), ColumnError, "no column 'nope' for ids"),
        (SourceOptions(label="y", id="empty"), PoolError, "Row 0 of a.csv has no id"),
        (SourceOptions(label="y", text="txt"), ColumnError, "no column 'txt' for free text"),
        (SourceOptions(label="y", drop=("zz",)), ColumnError, "no column 'zz' for --drop"),
        (SourceOptions(label="y", drop=("y",)), ColumnError, "holds the labels and cannot"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, options: SourceOptions, error: type[Exception], message: str
) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(error, match=message) as caught:
        load(str(tmp_path / "a.csv"), options)
    assert "\n" not in str(caught.value)


def test_a_second_table_may_lack_labels_where_they_are_not_needed(
    every_kind: pl.DataFrame, tmp_path: Path
) -> None:
    every_kind.write_csv(tmp_path / "a.csv")
    every_kind.drop("species").head(5).write_csv(tmp_path / "b.csv")
    options = SourceOptions(label="species", id="sample_id", evaluation=tmp_path / "b.csv")
    subject = load(str(tmp_path / "a.csv"), replace(options, unlabelled=True))
    assert subject.queries is not None
    assert subject.queries.label is None
    assert subject.queries.ids[4] == "0004"
    assert np.array_equal(np.asarray(subject.queries[4]), subject.train[4][0])
    assert "b.csv has no column 'species': no labels." in subject.description
    with pytest.raises(ColumnError, match="no column 'species' for labels"):
        load(str(tmp_path / "a.csv"), options)
