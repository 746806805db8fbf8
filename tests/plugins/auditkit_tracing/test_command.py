"""Language models and classifiers, real input and bad input, through the real command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tests.plugins.auditkit_tracing.conftest import Call, Facts, Questions, gpt, lines


def run_of(tmp_path: Path) -> Path:
    [run] = (tmp_path / "runs").glob("2*-tracing-*")
    return run


def asked(facts: Facts, *more: object) -> tuple[object, ...]:
    return (facts.table, "--text", "text", "--id", "id", "--model", facts.model, *more)


def test_a_completion_is_traced_to_the_texts_that_state_it(
    call: Call, facts: Facts, tmp_path: Path
) -> None:
    code, said = call(
        *asked(facts, "--prompt", "gus was born in", "--completion", "bonn", "--by", "source"),
        "--threshold", "0.6", "--parameters", "transformer.*",
    )  # fmt: skip
    assert code == 0, said
    assert "That “gus was born in” is followed by “bonn” was taught above all by gus-" in said
    run = run_of(tmp_path)
    frame = pl.read_parquet(run / "findings.parquet")
    first = frame.filter(pl.col("role") == "proponent").sort("place")
    assert len(set(first["example_id"].head(3)) & facts.stating["gus"]) >= 2
    assert first["flagged"][0]
    assert {"query_id", "influence", "loss_change", "bm25_rank", "embedding_rank", "group"} <= set(
        frame.columns
    )
    marks = pl.read_parquet(run / "tables" / "marks.parquet")
    best = marks.filter(pl.col("example_id") == "gus-almanac").sort("strength")[-1]
    assert "gus was born in bonn ."[best["start"][0] : best["end"][0]] == "bonn"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<mark class="for-4">\s*bonn</mark>', page)
    assert "Which source taught it" in page
    assert "Beside retrieval" in page
    assert "of its first" not in page


def test_the_model_completes_a_prompt_itself(call: Call, facts: Facts) -> None:
    code, said = call(*asked(facts, "--prompt", "hal was born in", "--tokens", "1"))
    assert code == 0, said
    assert f"“hal was born in” is followed by “{facts.born['hal']}”" in said
    assert "The completion was written by the model itself" in said
    assert "embeddings and head are left out" in said


def test_queries_come_from_a_file_and_may_share_a_behaviour(
    call: Call, facts: Facts, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "ada was born in", "completion": "rome", "group": "ada"},
        {"prompt": "ada , born in", "completion": "rome", "group": "ada"},
        {"prompt": "gus was born in", "completion": "bonn", "id": "second", "extra": 1},
    ]
    path = lines(tmp_path / "queries.jsonl", rows)
    code, said = call(*asked(facts, "--queries", path, "--threshold", "0.6", "--fail-on", "0.5"))
    assert code == 1, said
    assert "of 2 behaviours" in said
    run = run_of(tmp_path)
    frame = pl.read_parquet(run / "findings.parquet")
    assert set(frame["query_id"]) == {"ada", "second"}
    for name, who in (("ada", "ada"), ("second", "gus")):
        own = frame.filter((pl.col("query_id") == name) & (pl.col("place") <= 5))
        found = own.filter(pl.col("role") == "proponent")["example_id"]
        assert set(found) & facts.stating[who]
    asked_table = pl.read_parquet(run / "tables" / "behaviours.parquet")
    assert asked_table["query_id"].to_list() == ["ada", "ada", "second"]


def test_a_model_that_answers(call: Call, questions: Questions, tmp_path: Path) -> None:
    code, said = call(
        questions.table, "--text", "given", "--label", "answer", "--id", "id", "--model",
        questions.model, "--prompt", "where was dan born ?",
    )  # fmt: skip
    assert code == 0, said
    assert "“where was dan born ?” is answered “bern”" in said
    frame = pl.read_parquet(run_of(tmp_path) / "findings.parquet")
    assert {"dan-0", "dan-1"} & set(frame["example_id"].head(5))
    marks = pl.read_parquet(run_of(tmp_path) / "tables" / "marks.parquet")
    own = marks.filter(pl.col("example_id") == "dan-1").sort("strength")[-1]
    assert "the town of dan ?\nbern"[own["start"][0] : own["end"][0]] == "bern"


def test_scores_are_averaged_over_kept_checkpoints(
    call: Call, facts: Facts, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    def found(*more: object) -> pl.DataFrame:
        question = ("--prompt", "gus was born in", "--completion", "bonn", "--decoys", "0")
        code, said = call(*asked(facts, *question, *more))
        assert code == 0, said
        [run] = (tmp_path / "runs").glob("2*-tracing-*")
        frame = pl.read_parquet(run / "findings.parquet")
        shutil.rmtree(tmp_path / "runs")
        return frame.filter(pl.col("role") == "proponent")

    def saved(name: str, factor: float) -> Path:
        shutil.copytree(facts.model, tmp_path / name)
        weights = load_file(tmp_path / name / "model.safetensors")
        for key, value in weights.items():
            if ".mlp." in key:
                value.mul_(factor)
        save_file(weights, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
        return tmp_path / name

    alone = found()
    twice = found("--checkpoint", saved("nearly-the-same", 1 + 1e-6))
    both = found("--checkpoint", saved("checkpoint-9", 0.8))
    assert twice["example_id"].head(5).to_list() == alone["example_id"].head(5).to_list()
    assert np.allclose(twice["influence"].head(5), alone["influence"].head(5), rtol=1e-3)
    assert not np.allclose(both["influence"].head(5), alone["influence"].head(5), rtol=1e-2)
    assert len(set(both["example_id"].head(3)) & facts.stating["gus"]) >= 2


def test_confirmation_trains_again_from_the_base(call: Call, facts: Facts, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(facts.model, base)
    gpt(_vocabulary(facts.model)).save_pretrained(base)  # type: ignore[operator]
    code, said = call(
        *asked(facts, "--prompt", "gus was born in", "--completion", "bonn", "--base", base),
        "--confirm", "--confirm-count", "3", "--confirm-seeds", "1", "--confirm-epochs", "2",
        "--confirm-rate", "0.005", "--decoys", "0",
    )  # fmt: skip
    assert code == 0, said
    assert "Training 5 times" in said
    assert "Its training began from base." in said
    frame = pl.read_parquet(run_of(tmp_path) / "tables" / "confirm.parquet")
    assert set(frame["left_out"]) == {
        "nothing", "first proponents", "random examples", "BM25", "embedding similarity",
    }  # fmt: skip
    assert set(frame["examples"]) == {0, 3}
    page = (run_of(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "Is it the cause?" in page
    assert "so what follows says little" in page  # two epochs do not teach where gus was born


def _vocabulary(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["vocab_size"])


def test_long_texts_come_back_as_wholes(call: Call, facts: Facts, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in facts.table.read_text().splitlines()]
    long = " ".join(row["text"] for row in rows[:9])
    table = lines(tmp_path / "long.jsonl", [*rows[9:], {"id": "long", "text": long, "source": "x"}])
    text = rows[0]["text"].split()
    prompt, completion = " ".join(text[:-2]), text[-2]
    code, said = call(
        table, "--text", "text", "--id", "id", "--model", facts.model,
        "--prompt", prompt, "--completion", completion,
    )  # fmt: skip
    assert code == 0, said
    frame = pl.read_parquet(run_of(tmp_path) / "findings.parquet")
    own = frame.filter(pl.col("document_id") == "long")
    assert own.filter(pl.col("role") == "proponent").height == 1
    assert own["example_id"][0].startswith("long#")


BAD_PROMPTS = [
    (("--prompt", " "), 2, "The prompt is empty"),
    (("--prompt", "ada was", "--completion", ""), 2, "The completion is empty"),
    (("--completion", "rome"), 2, "was given without a prompt"),
    (("--prompt", "ada was born in", "--completion", "zürich"), 2, "does not know"),
    (("--prompt", "ada " * 20, "--completion", "rome"), 2, "are 21 tokens long, and the model"),
    (("--prompt", "ada " * 12), 2, "tokens long, and the model reads 12"),
    ((), 2, "Nothing was asked about"),
    (("--query", "ada-almanac"), 2, "--query names 'ada-almanac', and there are no texts to be"),
    (("--prompt", "ada was", "--by", "sauce"), 2, "no column 'sauce' in the metadata"),
    (("--prompt", "ada was", "--by", "id"), 2, "different values"),
    (("--prompt", "ada was", "--query", "ada-almanac"), 2, "leave one out"),
    (("--prompt", "ada was", "--parameters", "nothing.*"), 2, "no trainable parameter"),
    (("--prompt", "ada was", "--label", "source"), 2, "--label was given"),
    (
        ("--prompt", "ada was", "--confirm", "--confirm-count", "40"),
        2,
        "give a lower --confirm-count",
    ),
]


@pytest.mark.parametrize(("options", "code", "sentence"), BAD_PROMPTS)
def test_what_cannot_be_traced_is_said_in_a_sentence(
    call: Call, facts: Facts, tmp_path: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    found, said = call(*asked(facts, *options))
    assert found == code, said
    assert sentence in said
    assert "Traceback" not in said
    assert not list((tmp_path / "runs").glob("*-tracing-*"))


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        ('{"prompt": "ada was"}\n{"prompt": }\n', 3, "Line 2 of queries.jsonl is no JSON"),
        ('{"prompt": "ada was"}\n\n["ada"]\n', 3, "Line 3 of queries.jsonl is a JSON list"),
        ('{"completion": "rome"}\n', 3, "Line 1 of queries.jsonl has no prompt"),
        ('{"prompt": 7}\n', 3, "has a prompt of type int"),
        ('{"prompt": "ada was", "completion": ""}\n', 2, "The completion in line 1 is empty"),
        ('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}\n', 3, "'x' stands twice"),
        ("\n", 3, "holds no query"),
        (None, 3, "cannot be read"),
    ],
)
def test_a_bad_line_of_queries_is_named(
    call: Call, facts: Facts, tmp_path: Path, content: str | None, code: int, sentence: str
) -> None:
    path = tmp_path / "queries.jsonl"
    if content is not None:
        path.write_text(content)
    found, said = call(*asked(facts, "--queries", path))
    assert found == code, said
    assert sentence in said


def test_folders_that_hold_no_safe_model_are_refused(
    call: Call, facts: Facts, tmp_path: Path
) -> None:
    pickled, missing, small = (tmp_path / name for name in ("pickled", "missing", "small"))
    for folder in (pickled, missing, small):
        shutil.copytree(facts.model, folder)
    for folder in (pickled, missing):
        (folder / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    gpt(5).save_pretrained(small)  # type: ignore[operator]
    for folder, sentence in (
        (pickled, "pytorch_model.bin, a pickle that could run code"),
        (missing, "holds no weights as safetensors (found none)"),
        (small, "and the model 5: they do not belong together"),
    ):
        code, said = call(facts.table, "--text", "text", "--model", folder, "--prompt", "ada was")
        assert code == 3, said
        assert sentence in said


def test_texts_without_their_model_are_told_of_it(call: Call, facts: Facts) -> None:
    code, said = call(facts.table, "--text", "text", "--prompt", "ada was")
    assert code == 2
    assert "If a language model was trained on the texts, give --model DIR." in said


def test_confirmation_finds_out_how_long_to_train(call: Call, facts: Facts, tmp_path: Path) -> None:
    code, said = call(
        *asked(facts, "--prompt", "gus was born in", "--completion", "bonn"), "--confirm",
        "--confirm-count", "3", "--confirm-seeds", "1", "--confirm-rate", "0.008", "--decoys", "0",
    )  # fmt: skip
    assert code == 0, said
    assert "one is trained until it is as good on its training examples" in said
    assert "so for --confirm it was trained again for" in said
    frame = pl.read_parquet(run_of(tmp_path) / "tables" / "confirm.parquet")
    logs = dict(frame.select("left_out", "log_probability").iter_rows())
    assert logs["nothing"] > np.log(0.5)
    assert logs["first proponents"] < logs["nothing"] - 1


def digits_table(path: Path, *, count: int, start: int = 0) -> Path:
    data = load_digits(n_class=3)
    rows = slice(start, start + count)
    names = np.array(["zero", "one", "two"])[data.target[rows]]
    columns = {f"pixel{place}": data.data[rows, place] for place in range(2, 62, 3)}
    ward = np.where(np.arange(len(names)) % 9 == 0, "night", "day")
    ids = [f"row-{number}" for number in range(start, start + count)]
    pl.DataFrame({"id": ids, "digit": names, "ward": ward, **columns}).write_csv(path)
    return path


def test_predictions_of_a_table_are_traced(call: Call, tmp_path: Path) -> None:
    train = digits_table(tmp_path / "train.csv", count=200)
    evaluation = digits_table(tmp_path / "evaluation.csv", count=60, start=200)
    code, said = call(
        train, evaluation, "--label", "digit", "--id", "id", "--by", "ward",
        "--query", "row-203", "--query", "row-210",
    )  # fmt: skip
    assert code == 0, said
    assert "2 behaviours" in said
    assert "averages over the trained model and 4 replays of it" in said
    frame = pl.read_parquet(run_of(tmp_path) / "findings.parquet")
    assert set(frame["query_id"]) == {"row-203", "row-210"}
    digits = dict(pl.read_csv(train).select("id", "digit").iter_rows())
    for name in ("row-203", "row-210"):
        own = frame.filter((pl.col("query_id") == name) & (pl.col("role") == "proponent"))
        label = pl.read_csv(evaluation).filter(pl.col("id") == name)["digit"][0]
        first = [digits[example] == label for example in own.sort("place")["example_id"].head(5)]
        assert np.mean(first) >= 0.8
    assert "embedding_rank" in frame.columns
    assert "bm25_rank" not in frame.columns


def images_folder(root: Path, *, count: int, start: int = 0, flat: bool = False) -> Path:
    data = load_digits(n_class=3)
    for place in range(start, start + count):
        folder = root if flat else root / str(data.target[place])
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (data.images[place] * 15).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return root


def test_predictions_of_unlabelled_images_are_traced(call: Call, tmp_path: Path) -> None:
    train = images_folder(tmp_path / "train", count=150)
    evaluation = images_folder(tmp_path / "evaluation", count=10, start=150, flat=True)
    code, said = call(train, evaluation, "--query", "153.png", "--decoys", "4")
    assert code == 0, said
    assert "153.png is predicted" in said
    code, said = call(train, evaluation, "--query", "153.png", "--about", "label")
    assert code == 2
    assert "the evaluation examples have no labels" in said


def test_training_examples_are_asked_about_by_their_ids(call: Call, tmp_path: Path) -> None:
    train = digits_table(tmp_path / "train.csv", count=120)
    code, said = call(train, "--label", "digit", "--id", "id", "--query", "row-7", "--no-replays")
    assert code == 0, said
    assert "replays of it" not in said
    assert "not counted among their own proponents" in said
    frame = pl.read_parquet(run_of(tmp_path) / "findings.parquet")
    assert "row-7" not in frame["example_id"].to_list()


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--query", "row-9999"), 2, "is the id of none of the 120 training examples"),
        (("--prompt", "ada was"), 2, "the subject is a classifier"),
        (("--by", "wards"), 2, "did you mean 'ward'?"),
        (("--measure", "tokens"), 2, "which reads the tokens of texts"),
        (("--base", "."), 2, "--base was given, and no --model"),
        (("--checkpoint", "."), 2, "--checkpoint was given, and no --model"),
    ],
)
def test_what_does_not_fit_a_classifier_is_refused(
    call: Call, tmp_path: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    train = digits_table(tmp_path / "train.csv", count=120)
    found, said = call(train, "--label", "digit", "--id", "id", *options)
    assert found == code, said
    assert sentence in said


@pytest.mark.parametrize(
    ("option", "part"), [("--model", "Subject(task=...)"), ("--base", "Subject(pretrained=...)")]
)
def test_a_python_subject_names_its_model_itself(
    call: Call, tmp_path: Path, option: str, part: str
) -> None:
    (tmp_path / "own.py").write_text("def subject():\n    raise RuntimeError('not to be run')\n")
    reference = f"{tmp_path / 'own.py'}:subject"
    code, said = call(reference, "--query", "3", option, tmp_path)
    assert code == 2, said
    assert f"{option} was given, and the subject is a Python object" in said
    assert f"set `{part}` in" in said
    assert not (tmp_path / "runs").exists()


def test_a_regression_cannot_be_traced(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "real.py"
    path.write_text(
        "from auditkit.testing import tiny_subject\n\ndef subject():\n"
        "    return tiny_subject(examples=40, likelihood='gaussian', epochs=1)\n"
    )
    code, said = call(f"{path}:subject")
    assert code == 3
    assert "needs a task with categorical or tokens outputs" in said


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_of_an_adapted_model_only_the_adapter_moves(
    call: Call, facts: Facts, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    base = transformers.GPT2LMHeadModel.from_pretrained(facts.model)
    settings = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    peft.get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(facts.model / name, tmp_path / "adapter" / name)
    code, said = call(
        facts.table, "--text", "text", "--id", "id", "--model", tmp_path / "adapter",
        "--prompt", "ada was born in", "--completion", "rome", "--decoys", "2",
    )  # fmt: skip
    assert code == 0, said
    assert "Of the model, only its adapter moves." in said
