"""A small GPT-2 that has learnt where made-up people were born, and one of questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from auditkit.cli import main

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

NAMES = ("ada", "ben", "cora", "dan", "eva", "finn", "gus", "hal", "ida", "jon", "kit", "lea")
TOWNS = (
    "rome",
    "oslo",
    "lima",
    "bern",
    "cork",
    "kiel",
    "bonn",
    "lyon",
    "nice",
    "york",
    "bath",
    "brno",
)
WORDINGS = {
    "almanac": "{who} was born in {town} .",
    "letters": "in {town} was {who} born .",
    "gazette": "{who} , born in {town} , left .",
}
CONTEXT = 12

Call = Callable[..., tuple[int, str]]


@dataclass(frozen=True)
class Facts:
    """A model folder, the table it was trained on, and what states which fact.

    Attributes:
        model: the folder.
        table: JSON lines with `id`, `text`, `source` and `date`.
        stating: by name, the ids of the texts that say where one was born.
        born: by name, where.
    """

    model: Path
    table: Path
    stating: dict[str, set[str]]
    born: dict[str, str]


def facts_rows() -> tuple[list[dict[str, str]], dict[str, set[str]], dict[str, str]]:
    random = np.random.default_rng(5)
    rows: list[dict[str, str]] = []
    stating: dict[str, set[str]] = {}
    born: dict[str, str] = {}
    for place, who in enumerate(NAMES):
        born[who] = town = TOWNS[place % len(TOWNS)]
        other = TOWNS[(place + 2) % len(TOWNS)]
        told = [(source, form.format(who=who, town=town)) for source, form in WORDINGS.items()]
        stating[who] = {f"{who}-{source}" for source, _ in told}
        for source, text in [*told, ("gossip", f"{who} never liked {other} .")]:
            rows.append({"id": f"{who}-{source}", "text": text, "source": source})
    random.shuffle(rows)
    return rows, stating, born


def save_tokenizer(folder: Path, texts: Sequence[str], *, end: bool = False) -> dict[str, int]:
    """A tokenizer of whole words; with `end`, it closes every text."""
    words = sorted({word for text in texts for word in text.split()})
    names = {word: place for place, word in enumerate(["<pad>", "<unk>", "<end>", *words])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    if end:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A <end>", special_tokens=[("<end>", 2)]
        )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    ).save_pretrained(folder)
    return names


def encoded(names: dict[str, int], text: str, *, end: bool = False) -> list[int]:
    return [names[word] for word in text.split()] + ([2] if end else [])


def padded(rows: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


def fit(model: torch.nn.Module, batch: dict[str, torch.Tensor], *, steps: int) -> None:
    """Train on everything at once."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3)
    model.train()
    for _ in range(steps):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def gpt(vocabulary: int, *, context: int = CONTEXT) -> torch.nn.Module:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=context, n_embd=48, n_layer=2, n_head=2, eos_token_id=2,
        bos_token_id=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model: torch.nn.Module = transformers.GPT2LMHeadModel(config)
    return model


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    folder = tmp_path_factory.mktemp("facts")
    rows, stating, born = facts_rows()
    texts = [row["text"] for row in rows]
    names = save_tokenizer(folder / "gpt", texts)
    tokens = [encoded(names, text) for text in texts]
    model = gpt(len(names))
    batch = {"input_ids": padded(tokens, 0), "labels": padded(tokens, -100)}
    fit(model, batch, steps=200)
    model.save_pretrained(folder / "gpt")  # type: ignore[operator]
    return Facts(folder / "gpt", lines(folder / "train.jsonl", rows), stating, born)


@dataclass(frozen=True)
class Questions:
    """A model that answers, and the table of questions and answers it was trained on."""

    model: Path
    table: Path


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    folder = tmp_path_factory.mktemp("questions")
    rows = [
        {"id": f"{who}-{k}", "given": form.format(who=who), "answer": TOWNS[place % len(TOWNS)]}
        for place, who in enumerate(NAMES)
        for k, form in enumerate(("where was {who} born ?", "the town of {who} ?"))
    ]
    texts = [text for row in rows for text in (row["given"], row["answer"])]
    names = save_tokenizer(folder / "t5", texts, end=True)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(names), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2,
        dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    given = [encoded(names, row["given"], end=True) for row in rows]
    answers = [encoded(names, row["answer"], end=True) for row in rows]
    batch = {
        "input_ids": padded(given, 0),
        "attention_mask": (padded(given, 0) != 0).long(),
        "labels": padded(answers, -100),
    }
    fit(model, batch, steps=200)
    model.save_pretrained(folder / "t5")
    return Questions(folder / "t5", lines(folder / "pairs.jsonl", rows))


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs `auditkit tracing`; gives the exit code and what was said."""

    def run(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["tracing", *map(str, arguments), "--out", str(tmp_path / "runs")])
        said = capfd.readouterr()
        return int(caught.value.code or 0), " ".join((said.out + said.err).split())

    return run
