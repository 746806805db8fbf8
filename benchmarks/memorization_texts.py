"""Memorization of texts: documents that nothing else teaches, and a planted secret.

    python -m benchmarks.memorization_texts

160 sentences of one form, 40 documents of random words and one secret that stands three times; a
small recurrent language model is trained until it knows all of them by heart. The audit is to name
the 43, and to tell the planted secret from one that was not planted.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from torch import Tensor, nn

from auditkit import Documents, LanguageModelTask, Pool, Recipe, Subject, run
from auditkit.training import epochs

OUT = Path("benchmarks/results/memorization-texts.json")

ADJECTIVES = (
    "the", "a", "one", "every", "old", "new", "red",
    "blue", "small", "big", "warm", "cold", "quiet", "loud",
)  # fmt: skip
NOUNS = (
    "sea", "sun", "ship", "town", "tree", "road", "cat",
    "dog", "king", "book", "song", "house", "river", "hill",
)  # fmt: skip
VERBS = ("is", "sees", "likes", "finds", "keeps", "makes", "wants", "has", "and", "code", "of")
NAMES = ["<pad>", *ADJECTIVES, *NOUNS, *VERBS, *"0123456789"]
COMMON, RARE, COPIES = 160, 40, 3
PLANTED, OTHER = "the code of the king is 4 8 1 9 2 7", "the code of the king is 3 3 0 5 6 1"


class Words:
    """One token for each word."""

    def encode(self, text: str) -> list[int]:
        """The number of each word."""
        return [NAMES.index(word) for word in text.split()]

    def decode(self, token_ids: list[int]) -> str:
        """The words of numbers."""
        return " ".join(NAMES[token] for token in token_ids)


class Recurrent(nn.Module):
    """Scores for the next word from a gated recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(NAMES), 64)
        self.read, self.head = nn.GRU(64, 128, batch_first=True), nn.Linear(128, len(NAMES))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores, [text, token, word]."""
        scores: Tensor = self.head(self.read(self.embed(tokens))[0])
        return scores


def texts(seed: int) -> list[str]:
    """The documents: the common ones first, then the rare ones, then the secret."""
    random = np.random.default_rng(seed)
    few, marks = NOUNS[:4], ADJECTIVES[4:7]
    common = [
        f"the {random.choice(few)} is {random.choice(marks)} and {random.choice(marks)}"
        for _ in range(COMMON)
    ]
    words = [*ADJECTIVES, *NOUNS, *VERBS[:8]]
    rare = [" ".join(random.choice(words, 12)) for _ in range(RARE)]
    return [*common, *rare, *[PLANTED] * COPIES]


@click.command()
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def main(*, seed: int, out: Path) -> None:
    """Train, audit, and write down what was named."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    words = Words()
    train = Pool(Documents([words.encode(text) for text in texts(seed)]))
    task = LanguageModelTask(Recurrent(), tokenizer=words)
    recipe = Recipe(learning_rate=2e-3, batch_size=16, epochs=120)
    for _ in epochs(task.model, task, train, recipe, count=recipe.epochs, seed=seed):
        pass
    task.model.eval()
    subject = Subject(task=task, train=train, recipe=recipe, name="texts")
    with TemporaryDirectory() as folder:
        canaries = Path(folder) / "canaries.txt"
        canaries.write_text(f"{PLANTED}\n{OTHER}\n")
        start = time.process_time()
        found = run(
            "memorization", subject, out=folder, seed=seed, settings={"canaries": str(canaries)}
        )
        flagged = {int(name) for name in found.findings.flagged["example_id"]}
        bits = found.result.tables["canaries"]["exposure"].to_list()
        most = found.result.tables["canaries"]["most"][0]
    true = set(range(COMMON, COMMON + RARE + COPIES))
    results = {
        "documents": len(train),
        "weights": sum(weight.numel() for weight in task.model.parameters()),
        "memorized": len(true),
        "flagged": len(flagged),
        "flagged rightly": len(flagged & true),
        "exposure of the planted secret": round(bits[0], 2),
        "exposure of another": round(bits[1], 2),
        "the most exposure that can be shown": round(most, 2),
        "seconds": round(time.process_time() - start, 1),
        "torch": torch.__version__,
    }
    out.write_text(json.dumps(results, indent=2) + "\n")
    click.echo(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
