"""Language models from a local folder, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auditkit import ForwardINF, LanguageModelTask, SourceOptions
from auditkit.errors import (
    AuditkitError,
    ColumnError,
    LabelError,
    PoolError,
    SettingError,
    SubjectReferenceError,
    UnreadableError,
)
from auditkit.sources import load
from auditkit.tasks.documents import Documents

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["the", "sea", "sun", "is", "blue", "red", "old", "and", "cold", "warm"]
TEXTS = ["the sea is blue", "the sun is red", "the sea is old and cold", "the sun is warm"]
CONTEXT = 8


def save(folder: Path, *, tokens: int | None = None, safe: bool = True) -> Path:
    """A GPT-2 of two layers and a tokenizer of whole words."""
    names = {word: place for place, word in enumerate(["<pad>", *WORDS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, unk_token="<pad>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=tokens or len(names), n_positions=CONTEXT, n_embd=8, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "gpt")


def table(folder: Path, texts: list[str | None]) -> Path:
    path = folder / "train.jsonl"
    rows = [{"text": text, "source": f"s{place % 2}"} for place, text in enumerate(texts)]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def options(model: Path, *, text: str | None = "text", label: str | None = None) -> SourceOptions:
    return SourceOptions(checkpoint=model, text=text, label=label)


def test_texts_become_documents_and_are_scored(model: Path, tmp_path: Path) -> None:
    subject = load(str(table(tmp_path, TEXTS)), options(model))
    task, dataset = subject.required_task(), subject.train.dataset
    assert isinstance(task, LanguageModelTask)
    assert isinstance(dataset, Documents)
    assert task.tokenizer is not None
    assert [task.tokenizer.decode(tokens.tolist()) for tokens in dataset.tokens] == TEXTS
    assert subject.train.metadata["source"].to_list() == ["s0", "s1", "s0", "s1"]
    engine = ForwardINF(task, train=subject.train, parameters="*mlp*", train_measure="tokens")
    scores = engine.influence(subject.train.subset(np.array([1]))).values
    assert scores.argmax() == 1
    assert "4 texts (text) from train.jsonl" in subject.description[0]


def test_long_texts_are_cut_into_windows_that_keep_their_metadata(
    model: Path, tmp_path: Path
) -> None:
    long = " ".join([*WORDS, *WORDS])
    subject = load(str(table(tmp_path, ["the sea is old", long, None, " "])), options(model))
    assert subject.train.ids == ("0", "1#0", "1#1", "1#2")
    assert [len(subject.train[place][0]) for place in range(4)] == [4, 8, 8, 4]  # type: ignore[index]
    assert subject.train.metadata["source"].to_list() == ["s0", "s1", "s1", "s1"]
    preview = subject.train.preview(2)
    assert preview is not None
    assert "Texts longer than the model's 8 tokens are cut: 4 windows." in subject.description
    assert any("2 rows" in sentence for sentence in subject.description)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_of_an_adapted_model_only_the_adapter_moves(model: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = transformers.GPT2LMHeadModel.from_pretrained(model)
    settings = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    peft.get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "adapter" / name).write_bytes((model / name).read_bytes())
    subject = load(str(table(tmp_path, TEXTS)), options(tmp_path / "adapter"))
    task = subject.required_task()
    names = [name for name, weight in task.model.named_parameters() if weight.requires_grad]
    assert names
    assert all("lora" in name for name in names)
    scores = ForwardINF(task, train=subject.train).influence(subject.train.subset(np.array([2])))
    assert scores.values[0, 2] > 0
    assert "Of the model, only its adapter moves." in subject.description


@pytest.mark.parametrize(
    ("name", "wanted", "error", "said"),
    [
        ("gpt", None, SettingError, "--text COLUMN"),
        ("gpt", "body", ColumnError, "no column 'body'"),
        ("nowhere", "text", SubjectReferenceError, "There is no folder"),
        ("pickled", "text", UnreadableError, "pytorch_model.bin, a pickle that could run code"),
        ("small", "text", LabelError, "knows 11 tokens and the model 5"),
        ("broken", "text", UnreadableError, "cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_a_sentence(
    model: Path,
    tmp_path: Path,
    name: str,
    wanted: str | None,
    error: type[AuditkitError],
    said: str,
) -> None:
    folder = model if name == "gpt" else tmp_path / name
    if name == "pickled":
        save(folder, safe=False)
    elif name == "small":
        save(folder, tokens=5)
    elif name == "broken":
        save(folder)
        (folder / "config.json").write_text("{")
    with pytest.raises(error, match=said):
        load(str(table(tmp_path, TEXTS)), options(folder, text=wanted))


def test_loading_says_nothing(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load(str(table(tmp_path, TEXTS)), options(model))
    assert capfd.readouterr() == ("", "")


def test_options_that_mean_nothing_here_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--label was given"):
        load(str(table(tmp_path, TEXTS)), options(model, label="source"))


def test_columns_without_text_and_texts_of_one_token_are_refused(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ColumnError, match="holds no text"):
        load(str(table(tmp_path, [None, " "])), options(model))
    with pytest.raises(PoolError, match="'sea' is 1 tokens long"):
        load(str(table(tmp_path, ["sea"])), options(model))


def test_models_that_answer_need_python(tmp_path: Path) -> None:
    folder = save(tmp_path / "t5")
    config = transformers.T5Config(
        vocab_size=11, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    with pytest.raises(SettingError, match="answers what it is given"):
        load(str(table(tmp_path, TEXTS)), options(folder))


def test_a_second_table_holds_the_queries(model: Path, tmp_path: Path) -> None:
    first = table(tmp_path, TEXTS)
    (tmp_path / "other").mkdir()
    second = table(tmp_path / "other", TEXTS[:2])
    found = load(str(first), replace(options(model), evaluation=second))
    assert found.queries is not None
    assert isinstance(found.queries.dataset, Documents)
    assert len(found.queries) == 2
    assert found.description[-1] == "2 documents from train.jsonl are the queries."
    (tmp_path / "queries.txt").write_text("a b")
    with pytest.raises(AuditkitError, match=r"queries\.txt"):
        load(str(first), replace(options(model), evaluation=tmp_path / "queries.txt"))
