"""Language models from a local folder, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file, save_file

from auditkit import Answers, ForwardINF, LanguageModelTask, Pool, SourceOptions
from auditkit.errors import (
    AuditkitError,
    ColumnError,
    LabelError,
    PoolError,
    SettingError,
    SubjectReferenceError,
    TaskError,
    UnreadableError,
)
from auditkit.sources import load
from auditkit.sources.pretrained import Loaded, load_model
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
    return SourceOptions(model_folder=model, text=text, label=label)


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
    assert isinstance(subject.train.dataset, Documents)
    assert subject.train.dataset.wholes == ("0", "1", "1", "1")
    preview = subject.train.preview(2)
    assert preview is not None
    said = "Texts of train.jsonl longer than the model's 8 tokens are cut: 4 windows."
    assert said in subject.description
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
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(min(weights))
    save_file(weights, file)
    with pytest.raises(UnreadableError, match=r"weights in adapter are not whole"):
        load(str(table(tmp_path, TEXTS)), options(tmp_path / "adapter"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_the_base_of_an_adapter_must_be_safe_too(model: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = save(tmp_path / "base")
    made = transformers.GPT2LMHeadModel.from_pretrained(base)
    settings = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    peft.get_peft_model(made, settings).save_pretrained(tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "adapter" / name).write_bytes((model / name).read_bytes())
    save(base, safe=False)
    with pytest.raises(UnreadableError, match=r"base holds no weights .*, a pickle that could"):
        load(str(table(tmp_path, TEXTS)), options(tmp_path / "adapter"))


def damage(folder: Path, how: str) -> None:
    """Make a folder one that must not be believed."""
    file, name = folder / "model.safetensors", "transformer.h.1.mlp.c_fc.weight"
    weights = load_file(file)
    settings = folder / "config.json"
    odd = {"layers": {"n_layer": "x"}, "heads": {"n_head": -1}}
    if how in odd:
        settings.write_text(json.dumps(json.loads(settings.read_text()) | odd[how]))
    elif how == "deep":
        settings.write_text("[" * 100_000)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    elif how == "wordless":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    elif how == "masked":
        config = transformers.BertConfig(
            vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=CONTEXT,
        )  # fmt: skip
        torch.manual_seed(0)
        transformers.BertForMaskedLM(config).save_pretrained(folder)
    else:
        own = weights.pop(name)
        if how == "shaped":
            weights[name] = own[:, :7].clone()
        elif how == "nan":
            weights[name] = own.clone().fill_(torch.nan)
        save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("name", "wanted", "error", "said"),
    [
        ("gpt", None, SettingError, "--text COLUMN"),
        ("gpt", "body", ColumnError, "no column 'body'"),
        ("nowhere", "text", SubjectReferenceError, "There is no folder"),
        ("pickled", "text", UnreadableError, "pytorch_model.bin, a pickle that could run code"),
        ("small", "text", LabelError, "knows 11 tokens and the model 5"),
        ("broken", "text", UnreadableError, "cannot be loaded"),
        ("cut", "text", UnreadableError, r"model\.safetensors in cut is damaged"),
        ("layers", "text", UnreadableError, r"cannot be loaded: .* 'n_layer' expected int"),
        ("heads", "text", UnreadableError, r"cannot be loaded: .* shape"),
        ("deep", "text", UnreadableError, r"cannot be loaded: maximum recursion depth"),
        ("wordless", "text", UnreadableError, "holds no tokenizer"),
        (
            "partial",
            "text",
            UnreadableError,
            r"not whole: one is missing, .transformer.h.1.mlp.c_fc.weight",
        ),
        ("shaped", "text", UnreadableError, r"has shape \[8, 7\], and its config.json says"),
        (
            "nan",
            "text",
            UnreadableError,
            r"NaN or infinite numbers, in transformer\.h\.1\.mlp\.c_fc\.weight",
        ),
        ("masked", "text", UnreadableError, "sees the tokens it is to predict"),
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
    elif folder != model and name != "nowhere":
        damage(save(folder), name)
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


def test_a_folder_in_the_place_of_texts_is_refused(model: Path, tmp_path: Path) -> None:
    texts = table(tmp_path, ["the sea is cold", "the sun is warm"])
    for path, second in ((model, None), (texts, model)):
        with pytest.raises(SubjectReferenceError, match="is a folder: give the table of texts"):
            load(str(path), replace(options(model), evaluation=second))


def test_columns_without_text_and_texts_of_one_token_are_refused(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ColumnError, match="holds no text"):
        load(str(table(tmp_path, [None, " "])), options(model))
    with pytest.raises(PoolError, match="are of one token each at most"):
        load(str(table(tmp_path, ["sea"])), options(model))


def test_texts_of_one_token_are_left_out_and_that_is_said(model: Path, tmp_path: Path) -> None:
    subject = load(str(table(tmp_path, ["the sea is old", "sea", TEXTS[1]])), options(model))
    assert subject.train.ids == ("0", "2")
    assert subject.train.metadata["source"].to_list() == ["s0", "s0"]
    said = "Left out: 1 rows of train.jsonl with a text of one token at most."
    assert said in subject.description


def save_answering(folder: Path) -> Path:
    """A T5 of one layer with the tokenizer of whole words."""
    save(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=11, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def pairs(folder: Path, rows: list[tuple[str | None, str | None]]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(json.dumps({"given": a, "answer": b}) for a, b in rows) + "\n")
    return path


def test_models_that_answer_are_given_texts_and_their_answers(tmp_path: Path) -> None:
    folder = save_answering(tmp_path / "t5")
    rows = [("the sea is", "blue"), ("the old sun is", "red and warm"), ("the sea", None)]
    asked = SourceOptions(model_folder=folder, text="given", label="answer")
    subject = load(str(pairs(tmp_path, [*rows, ("the sun is", "cold")])), asked)
    task, dataset = subject.required_task(), subject.train.dataset
    assert isinstance(task, LanguageModelTask)
    assert task.form == "seq2seq"
    assert isinstance(dataset, Answers)
    assert [list(map(len, pair)) for pair in zip(dataset.inputs, dataset.answers, strict=True)] == [
        [3, 1], [4, 3], [3, 1],
    ]  # fmt: skip
    assert "Left out: 1 rows of pairs.jsonl without text." in subject.description
    with torch.no_grad():
        alone = [
            float(task.loss(task.model, collate_one(subject.train, place))) for place in range(3)
        ]
    engine = ForwardINF(task, train=subject.train, train_measure="tokens")
    np.testing.assert_allclose(engine.evaluate().loss, alone, rtol=1e-4)  # padding is not seen
    assert engine.influence(subject.train.subset([1])).values.argmax() == 1


def collate_one(pool: Pool, place: int) -> tuple[torch.Tensor, ...]:
    example = pool[place]
    assert isinstance(example, tuple)
    return tuple(torch.as_tensor(part)[None] for part in example)


def test_long_texts_and_answers_of_such_a_model_are_cut(tmp_path: Path) -> None:
    folder = save_answering(tmp_path / "t5")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_positions": 4}))
    rows = [("the sea is old and cold", "blue"), ("the sun", "red")]
    asked = SourceOptions(model_folder=folder, text="given", label="answer")
    subject = load(str(pairs(tmp_path, list(rows))), asked)
    assert isinstance(subject.train.dataset, Answers)
    assert [len(own) for own in subject.train.dataset.inputs] == [4, 2]
    said = "1 texts or answers of pairs.jsonl are cut at the model's 4 tokens."
    assert said in subject.description


def test_such_a_model_needs_a_column_of_answers(tmp_path: Path) -> None:
    folder = save_answering(tmp_path / "t5")
    with pytest.raises(SettingError, match="with --label COLUMN"):
        load(str(table(tmp_path, TEXTS)), options(folder))
    with pytest.raises(ColumnError, match="no column 'reply' for answers"):
        load(str(table(tmp_path, TEXTS)), options(folder, label="reply"))


def test_half_precision_is_worked_with_in_single(tmp_path: Path) -> None:
    folder = save(tmp_path / "half")
    half = transformers.GPT2LMHeadModel.from_pretrained(folder).to(torch.bfloat16)
    half.save_pretrained(folder)
    subject = load(str(table(tmp_path, TEXTS)), replace(options(folder), base=folder))
    assert subject.fresh is not None
    assert subject.pretrained is not None
    weights = [*subject.required_task().model.parameters(), *subject.fresh().parameters()]
    assert {own.dtype for own in [*weights, *subject.pretrained.values()]} == {torch.float32}


def test_training_may_have_begun_from_a_base_model(model: Path, tmp_path: Path) -> None:
    base = save(tmp_path / "base")
    asked = replace(options(model), base=base)
    subject = load(str(table(tmp_path, TEXTS)), asked)
    assert subject.pretrained is not None
    assert set(subject.pretrained) == set(subject.required_task().model.state_dict())
    assert "Its training began from base." in subject.description
    other = save(tmp_path / "other", tokens=20)
    with pytest.raises(TaskError, match="has no weight 'transformer"):
        load(str(table(tmp_path, TEXTS)), replace(asked, base=other))
    with pytest.raises(SettingError, match="--base was given, and no --model"):
        load(str(table(tmp_path, TEXTS)), replace(asked, model_folder=None))


def test_checkpoints_are_weights_of_the_same_model(model: Path, tmp_path: Path) -> None:
    first = save(tmp_path / "checkpoint-1")
    made = transformers.GPT2LMHeadModel.from_pretrained(first)
    with torch.no_grad():
        made.transformer.h[1].mlp.c_fc.weight.add_(1.0)
    made.save_pretrained(first)
    for file in first.glob("tokenizer*"):
        file.unlink()  # as trainers leave them out
    asked = replace(options(model), checkpoints=(first,))
    subject = load(str(table(tmp_path, TEXTS)), asked)
    own = subject.required_task().model.state_dict()
    [kept] = subject.checkpoints
    assert isinstance(kept, dict)
    assert kept.keys() == own.keys()
    moved = "transformer.h.1.mlp.c_fc.weight"
    assert torch.equal(kept[moved], own[moved] + 1)
    shared = {name for name in own if kept[name].data_ptr() == own[name].data_ptr()}
    assert shared == own.keys() - {moved}  # not held twice
    assert "Checkpoints of its training are asked as well: checkpoint-1." in subject.description

    def refused(error: type[AuditkitError], sentence: str, *folders: Path) -> None:
        with pytest.raises(error, match=sentence):
            load(str(table(tmp_path, TEXTS)), replace(asked, checkpoints=folders))

    other = save(tmp_path / "other", tokens=20)
    refused(TaskError, "The checkpoint in other has no weight 'transformer", first, other)
    deeper = save(tmp_path / "deeper")
    config = transformers.GPT2Config.from_pretrained(deeper)
    config.n_layer = 3
    transformers.GPT2LMHeadModel(config).save_pretrained(deeper)
    refused(TaskError, "The checkpoint in deeper has a weight 'transformer.h.2", deeper)
    refused(SettingError, "--checkpoint checkpoint-1 was given twice", first, first)
    refused(SettingError, "--checkpoint gpt holds the same weights as --model", model)
    weights = safetensors.torch.load_file(first / "model.safetensors")
    partial = save(tmp_path / "partial")
    safetensors.torch.save_file(
        {name: own for name, own in weights.items() if name != moved},
        partial / "model.safetensors", metadata={"format": "pt"},
    )  # fmt: skip
    refused(UnreadableError, "partial are not whole: one is missing", partial)
    unsafe = save(tmp_path / "unsafe", safe=False)
    refused(UnreadableError, "a pickle that could run code", unsafe)
    with pytest.raises(SettingError, match="--checkpoint was given, and no --model"):
        load(str(table(tmp_path, TEXTS)), replace(asked, model_folder=None))


def test_a_second_table_holds_the_queries(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = table(tmp_path, TEXTS)
    (tmp_path / "other").mkdir()
    second = table(tmp_path / "other", [*TEXTS[:2], None]).rename(tmp_path / "queries.jsonl")
    loads: list[Path] = []

    def counted(folder: Path) -> Loaded:
        loads.append(folder)
        return load_model(folder)

    monkeypatch.setattr("auditkit.sources.language.load_model", counted)
    found = load(str(first), replace(options(model), evaluation=second))
    assert loads == [model]
    assert found.queries is not None
    assert isinstance(found.queries.dataset, Documents)
    assert len(found.train) == 4
    assert len(found.queries) == 2
    assert found.description[-2:] == (
        "2 documents from queries.jsonl are the queries.",
        "Left out: 1 rows of queries.jsonl without text.",
    )
    (tmp_path / "queries.txt").write_text("a b")
    with pytest.raises(AuditkitError, match=r"queries\.txt"):
        load(str(first), replace(options(model), evaluation=tmp_path / "queries.txt"))
