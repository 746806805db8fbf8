"""A tiny GPT-2 that knows its texts by heart: what leans on them, and what is lost without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from auditkit_memorization import text_sections

from auditkit import Documents, LanguageModelTask, Pool, Recipe, Run, Subject, run
from auditkit.errors import SettingError, UsageError
from auditkit.training import epochs

transformers = pytest.importorskip("transformers")

VOCABULARY, LENGTH = 24, 10
COMMON, ODD = 36, 6


def counting(random: np.random.Generator) -> list[int]:
    first = int(random.integers(0, 8))
    return [16 + (first + step) % 8 for step in range(LENGTH)]


@pytest.fixture(scope="module")
def subject() -> Subject:
    """Many texts that count, six odd ones; evaluation texts count, or repeat an odd one's end."""
    random = np.random.default_rng(0)
    odd = [random.integers(0, 16, LENGTH).tolist() for _ in range(ODD)]
    train = [*(counting(random) for _ in range(COMMON)), *odd]
    asked = [*(counting(random) for _ in range(6)), *([*own[:-1], 20] for own in odd)]
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=1, n_head=2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    task = LanguageModelTask(transformers.GPT2LMHeadModel(config))
    pool = Pool(Documents(train))
    recipe = Recipe(learning_rate=5e-3, batch_size=7, epochs=40)
    for _ in epochs(task.model, task, pool, recipe, count=recipe.epochs):
        pass
    task.model.eval()
    return Subject(
        task=task,
        train=pool,
        queries=Pool(Documents(asked)),
        recipe=recipe,
        name="odd texts",
        fresh=lambda: transformers.GPT2LMHeadModel(config),
    )


@pytest.fixture(scope="module")
def judged(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(
        "memorization", subject, out=tmp_path_factory.mktemp("runs"),
        settings={"repeats": 1, "epochs": 40, "confirm": True, "leave_out": ODD / (COMMON + ODD),
                  "confirm_seeds": 2},
    )  # fmt: skip


def test_texts_that_repeat_a_memorized_one_lean_on_it(judged: Run) -> None:
    flagged = set(judged.findings.flagged["example_id"])
    assert flagged <= {str(COMMON + place) for place in range(ODD)}
    assert len(flagged) >= ODD - 1
    pairs = judged.result.tables["pairs"]
    found = set(pairs.select("example_id", "query_id").iter_rows())
    own = {(str(COMMON + place), str(6 + place)) for place in range(ODD)}
    assert len(found & own) >= ODD - 1
    strongest = set(pairs.unique("example_id", keep="first", maintain_order=True).rows())
    right = [(row[0], row[1]) in own for row in strongest]
    assert sum(right) > len(right) / 2  # by chance, one in twelve
    assert (pairs["loss_without"] > pairs["loss"]).all()
    frame = judged.findings.frame
    assert frame.filter(pl.col("leaning_examples") > 0)["example_id"].is_in(list(flagged)).all()


def test_without_the_memorized_ones_what_leans_on_them_is_read_worse(judged: Run) -> None:
    losses, differences = judged.result.tables["losses"], judged.result.tables["differences"]
    everything, without, random = losses["loss per token"]
    assert without > random > everything - 0.1
    assert differences["low"][2] > 0
    assert judged.record.summary["left out to confirm"] == ODD


def test_the_report_shows_both(judged: Run) -> None:
    sections = {section.title: section for section in text_sections.sections(judged.result)}
    leaning = sections["What leans on them"]
    assert "Of 12 evaluation documents asked" in leaning.paragraphs[0]
    assert leaning.galleries
    confirmed = sections["What leaving them out does"]
    assert "They teach what random documents do not" in confirmed.paragraphs[0]
    assert judged.report is not None
    assert "What leans on them" in judged.report.read_text()


def test_evaluation_texts_must_be_documents(subject: Subject, tmp_path: Path) -> None:
    other = Subject(
        task=subject.task, train=subject.train, recipe=subject.recipe,
        queries=Pool.from_arrays(np.zeros((3, LENGTH), np.int64)),
    )  # fmt: skip
    with pytest.raises(UsageError, match="evaluation documents are a"):
        run("memorization", other, out=tmp_path)


def test_a_share_that_leaves_none_out_is_refused(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="leaves 0 out"):
        run("memorization", subject, out=tmp_path, settings={"confirm": True, "leave_out": 1e-6})
