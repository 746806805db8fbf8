"""The audit from Python, on subjects of several kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from auditkit_tracing import TracingAudit
from torch import nn

import auditkit
from auditkit import (
    ClassificationTask,
    Documents,
    ForwardINF,
    LanguageModelTask,
    Pool,
    Recipe,
    Subject,
)
from auditkit.errors import SettingError, UsageError
from auditkit.testing import check_audit, tiny_subject

if TYPE_CHECKING:
    from auditkit.subject import Batch


def test_it_fits_in() -> None:
    check_audit(TracingAudit)


class Mappings:
    """The examples of a pool of pairs, as mappings."""

    def __init__(self, pool: Pool, key: str) -> None:
        self.pool, self.key = pool, key

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, position: int) -> object:
        inputs, label = self.pool[position]  # type: ignore[misc]
        return {"image": inputs, self.key: label}


def subject_of_mappings(key: str) -> Subject:
    """A subject whose examples hold their label under a key."""
    whole = tiny_subject(examples=80, queries=12, epochs=4)
    assert whole.queries is not None
    return replace(
        whole,
        train=Pool(Mappings(whole.train, key), ids=whole.train.ids),
        queries=Pool(Mappings(whole.queries, key), ids=whole.queries.ids),
    )


def test_mappings_and_labels_that_are_asked_about(tmp_path: Path) -> None:
    subject = subject_of_mappings("label")
    assert subject.queries is not None
    name = subject.queries.ids[3]
    for about in ("prediction", "label"):
        run = auditkit.run(
            "tracing", subject, out=tmp_path,
            settings={"query": (name,), "about": about, "decoys": 2},
        )  # fmt: skip
        assert set(run.findings.frame["query_id"]) == {name}


class OwnKey(ClassificationTask):
    """Examples hold their class under a key of their own."""

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        pair = (batch["image"], batch["class"]) if isinstance(batch, Mapping) else batch
        return super().outputs(model, pair)


def test_a_class_without_a_place_is_told_with_what_to_do(tmp_path: Path) -> None:
    subject = subject_of_mappings("class")
    task = OwnKey(subject.required_task().model)
    evaluated = ForwardINF(task, train=subject.train).evaluate(subject.queries)
    assert subject.queries is not None
    assert evaluated.outputs is not None
    wrong = np.flatnonzero(evaluated.outputs.argmax(axis=1) != evaluated.targets)
    subject, name = replace(subject, task=task), subject.queries.ids[wrong[0]]
    for settings in ({"decoys": 0}, {"about": "label"}):
        with pytest.raises(UsageError, match=r"place: .* take --about label with --decoys 0, and"):
            auditkit.run("tracing", subject, out=tmp_path, settings={"query": (name,), **settings})
    taken = {"query": (name,), "about": "label", "decoys": 0}
    told = auditkit.run("tracing", subject, out=tmp_path, settings=taken)
    assert set(told.findings.frame["query_id"]) == {name}


def test_queries_together_are_one_behaviour(tmp_path: Path) -> None:
    subject = tiny_subject(examples=80, queries=12, epochs=4)
    assert subject.queries is not None
    run = auditkit.run(
        "tracing", subject, out=tmp_path,
        settings={"query": subject.queries.ids[:3], "together": True, "decoys": 2},
    )  # fmt: skip
    assert run.findings.frame["query_id"].unique().to_list() == ["all queries"]
    assert run.record.summary["queries"] == 3
    assert run.record.settings["query"] == subject.queries.ids[:3]


class Bigrams(nn.Module):
    """Scores of the next token from the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 9)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(torch.tanh(self.inner(self.table(tokens))))
        return found


@pytest.fixture
def bigrams() -> Subject:
    random = np.random.default_rng(0)
    rows = [random.integers(0, 9, 6).tolist() for _ in range(30)]
    torch.manual_seed(0)
    return Subject(
        task=LanguageModelTask(Bigrams()),
        train=Pool(Documents(rows), metadata=pl.DataFrame({"source": ["a", "b", "c"] * 10})),
        queries=Pool(Documents(rows[:3], prompts=[4, 4, 4]), ids=["x", "y", "z"]),
        recipe=Recipe(learning_rate=0.01, epochs=2),
    )


def test_a_language_model_of_ones_own_with_its_own_queries(
    bigrams: Subject, tmp_path: Path
) -> None:
    run = auditkit.run(
        "tracing", bigrams, out=tmp_path, settings={"by": "source", "confirm": True,
        "confirm_count": 2, "confirm_seeds": 1}
    )  # fmt: skip
    assert set(run.findings.frame["query_id"]) == {"x", "y", "z"}
    assert any("Tokens are not marked" in note.text for note in run.record.notes)
    only = auditkit.run("tracing", bigrams, out=tmp_path, settings={"query": ("y",), "decoys": 0})
    assert set(only.findings.frame["query_id"]) == {"y"}
    assert only.findings.frame["probability"].is_null().all()
    assert any("No decoys were traced" in note.text for note in only.record.notes)
    loss = auditkit.run("tracing", bigrams, out=tmp_path, settings={"measure": "loss"})
    assert "marks" not in loss.record.tables


def test_a_part_of_a_train_pool_is_still_one_of_documents(bigrams: Subject, tmp_path: Path) -> None:
    part = replace(bigrams, train=bigrams.train.subset(np.arange(20)))
    run = auditkit.run("tracing", part, out=tmp_path, settings={"query": ("y",), "decoys": 3})
    assert run.record.summary["decoys traced for chance"] == 3


def test_what_such_a_subject_lacks_is_said(bigrams: Subject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the task has no tokenizer"):
        auditkit.run("tracing", bigrams, out=tmp_path, settings={"prompt": "the sea"})
    with pytest.raises(SettingError, match="'w', which is the id of none of the 3 queries"):
        auditkit.run("tracing", bigrams, out=tmp_path, settings={"query": ("w",)})
    with pytest.raises(UsageError, match="Nothing was asked about"):
        auditkit.run("tracing", replace(bigrams, queries=None), out=tmp_path)


def test_a_query_in_training_counts_neither_for_its_source_nor_for_chance(tmp_path: Path) -> None:
    whole = tiny_subject(examples=80, queries=12, epochs=4)
    ids = list(whole.train.ids)
    sources = ["own" if name == ids[0] else "b" if place % 2 else "a" for place, name in
               enumerate(ids)]  # fmt: skip
    train = Pool(
        whole.train.dataset, ids=ids, metadata=pl.DataFrame({"id": ids, "source": sources})
    )
    for queries in (None, train):
        run = auditkit.run(
            "tracing", replace(whole, train=train, queries=queries), out=tmp_path,
            settings={"query": (ids[0],), "decoys": 3, "by": "source"},
        )  # fmt: skip
        assert ids[0] not in run.findings.frame["example_id"]
        groups = pl.read_parquet(run.path / "tables" / "groups.parquet")
        [strength] = groups.filter(pl.col("group") == "own")["strength"]
        assert strength == 0
