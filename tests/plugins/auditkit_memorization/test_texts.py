"""Texts that a language model has memorized, told from those it has learnt; planted canaries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from auditkit_memorization import MemorizationAudit, text_sections
from auditkit_memorization.texts import LEARNT, VERBATIM
from torch import Tensor, nn

from auditkit import Documents, LanguageModelTask, Pool, Recipe, Run, Subject, run
from auditkit.errors import AuditkitError, SettingError, UnreadableError, UsageError
from auditkit.testing import check_audit
from auditkit.training import epochs

VOCABULARY = 18
COMMON, RARE = 48, 6
SECRET, OTHER = "4 8 1 9 2 7", "3 3 0 5 6 1"


class Digits:
    """Digits are tokens 1 to 10, and nothing else is known."""

    def encode(self, text: str) -> list[int]:
        return [0, *(int(word) + 1 for word in text.split())]

    def decode(self, token_ids: list[int]) -> str:
        return " ".join(str(token - 1) for token in token_ids)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.read, self.head = nn.GRU(16, 48, batch_first=True), nn.Linear(48, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.read(self.embed(tokens))[0])
        return scores


def texts() -> list[list[int]]:
    """Many that count up by one, a few of random tokens, and a secret."""
    random = np.random.default_rng(0)
    up = [[11 + (first + step) % 7 for step in range(7)] for first in random.integers(0, 7, COMMON)]
    odd = [random.integers(1, 18, 10).tolist() for _ in range(RARE)]
    return [*up, *odd, Digits().encode(SECRET)]


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.manual_seed(0)
    task = LanguageModelTask(Recurrent(), tokenizer=Digits())
    train = Pool(Documents(texts()))
    recipe = Recipe(learning_rate=1e-2, batch_size=8, epochs=60)
    for _ in epochs(task.model, task, train, recipe, count=recipe.epochs):
        pass
    task.model.eval()
    return Subject(task=task, train=train, recipe=recipe, name="texts")


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canaries") / "canaries.txt"
    path.write_text(f"{SECRET}\n\n{OTHER}\n")
    return path


@pytest.fixture(scope="module")
def judged(subject: Subject, canaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(
        "memorization", subject, out=tmp_path_factory.mktemp("runs"),
        settings={"canaries": str(canaries), "repeats": 1},
    )  # fmt: skip


def test_texts_that_nothing_else_teaches_are_memorized(judged: Run) -> None:
    frame = judged.findings.frame
    first = set(frame["example_id"].head(RARE + 1))
    assert first == {str(COMMON + place) for place in range(RARE + 1)}
    assert set(frame["verdict"].head(RARE + 1)) == {VERBATIM}
    assert set(frame["verdict"].tail(COMMON)) == {LEARNT}
    assert judged.record.rate == pytest.approx((RARE + 1) / (COMMON + RARE + 1))
    assert f"{RARE + 1} of {COMMON + RARE + 1} documents" in judged.record.answer


def test_a_planted_canary_stands_out_and_another_does_not(judged: Run) -> None:
    table = judged.result.tables["canaries"]
    assert table["canary"].to_list() == [SECRET, OTHER]
    assert table["exposure"][0] == pytest.approx(table["most"][0])
    assert table["exposure"][1] < 4
    assert judged.record.answer.endswith("Of 2 canaries, 1 stands out among all references.")


def test_what_replays_cannot_learn_is_not_called_memorized(
    subject: Subject, tmp_path: Path
) -> None:
    """Each text six times: held out with one copy, its likes still teach it."""
    tokens = [[11 + (first + step) % 7 for step in range(7)] for first in range(7)] * 6
    same = replace(subject, train=Pool(Documents(tokens)))
    for epoch_count in (1, 4):
        found = run(
            "memorization", same, out=tmp_path, settings={"epochs": epoch_count, "repeats": 1}
        )
        assert found.record.rate == 0
    warned = run("memorization", same, out=tmp_path, settings={"epochs": 1, "repeats": 1})
    assert any("trained less" in note.text for note in warned.record.notes)


def test_a_short_canary_cannot_stand_out_further_than_its_digits_allow(
    subject: Subject, tmp_path: Path
) -> None:
    path = tmp_path / "canaries.txt"
    path.write_text("4 8\n")
    found = run(
        "memorization", subject, out=tmp_path / "runs",
        settings={"canaries": str(path), "epochs": 1, "repeats": 1},
    )  # fmt: skip
    row = found.result.tables["canaries"].row(0, named=True)
    assert row["most"] == pytest.approx(np.log2(100))
    assert row["exposure"] <= row["most"] + 1e-9


@pytest.mark.parametrize(
    ("text", "said"),
    [("4 8 1 9 2 7 3 0 5 6 1 2 8", "14 tokens long"), ("41", "same to the tokenizer")],
)
def test_canaries_the_model_cannot_read_are_refused(
    subject: Subject, tmp_path: Path, text: str, said: str
) -> None:
    class Blind(Digits):
        def encode(self, text: str) -> list[int]:
            return [0, *(1 for _ in text)] if " " not in text else super().encode(text)

    path = tmp_path / "canaries.txt"
    path.write_text(text)
    task = LanguageModelTask(subject.required_task().model, tokenizer=Blind())
    with pytest.raises(SettingError, match=said):
        run(
            "memorization", replace(subject, task=task), out=tmp_path / "runs",
            settings={"canaries": str(path)},
        )  # fmt: skip


def test_the_report_shows_documents_and_canaries(judged: Run) -> None:
    sections = text_sections.sections(judged.result)
    assert [section.title for section in sections] == [
        "How much is memorized", "The most memorized", "What leans on them", "Canaries",
    ]  # fmt: skip
    (gallery,) = sections[1].galleries
    assert len(gallery.rows) == RARE + 1
    html = judged.report.read_text(encoding="utf-8")
    assert "writes" in html
    assert SECRET in html


def test_it_fits_in(subject: Subject) -> None:
    check_audit(MemorizationAudit, subject=subject)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("no digits here\n", SettingError, "has no digit"),
        ("\n", SettingError, "holds no canary"),
        (b"\xff\xfe\x00", UnreadableError, "cannot be read"),
        (None, UnreadableError, "cannot be read"),
    ],
)
def test_canaries_that_cannot_be_used_are_refused(
    subject: Subject,
    tmp_path: Path,
    content: str | bytes | None,
    error: type[AuditkitError],
    said: str,
) -> None:
    path = tmp_path / "canaries.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=said):
        run("memorization", subject, out=tmp_path / "runs", settings={"canaries": str(path)})
    assert not (tmp_path / "runs").exists()


def test_what_canaries_and_texts_need_is_said(
    subject: Subject, canaries: Path, tmp_path: Path
) -> None:
    task = subject.required_task()
    bare = replace(subject, task=LanguageModelTask(task.model))
    with pytest.raises(UsageError, match="no tokenizer"):
        run("memorization", bare, out=tmp_path, settings={"canaries": str(canaries)})
    answering = replace(subject, task=LanguageModelTask(task.model, form="seq2seq"))
    with pytest.raises(UsageError, match="continues what it reads"):
        run("memorization", answering, out=tmp_path)
    rows = [torch.tensor(own) for own in texts()[:COMMON]]
    other = replace(subject, train=Pool.from_arrays(torch.stack(rows), torch.stack(rows)))
    with pytest.raises(UsageError, match=r"auditkit\.Documents"):
        run("memorization", other, out=tmp_path)
