"""Rankings of the documents for each query, kept in a folder, and what they are worth."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from auditkit import LanguageModelTask
from benchmarks.tracing import model
from benchmarks.tracing.corpus import Corpus, Query, make_corpus
from benchmarks.tracing.model import document_pool, trained
from benchmarks.tracing.ways import Case, Table, Way

TOP = 10
Places = npt.NDArray[np.int64]


def case_folder(corpus: Corpus, seed: int, cache: Path) -> Path:
    """Where what belongs to a seed is kept: another folder for every other text and training."""
    training = [
        model.LAYERS, model.WIDTH, model.HEADS, model.CONTEXT, model.EPOCHS, model.BATCH,
        model.RATE, model.DECAY, model.WARMUP,
    ]  # fmt: skip
    texts = [own.text for own in corpus.documents] + [own.text for own in corpus.queries]
    digest = hashlib.sha256(json.dumps([training, texts]).encode()).hexdigest()
    return cache / f"seed-{seed}-{digest[:12]}"


def make_case(seed: int, cache: Path) -> Case:
    """The documents of a seed and the model trained on them, kept in the folder."""
    corpus = make_corpus(seed)
    folder = case_folder(corpus, seed, cache)
    task = trained(corpus, seed=seed, file=folder / "model.pt")

    def earlier() -> LanguageModelTask:
        file = folder / f"after-{model.EARLIER}-epochs.pt"
        return trained(corpus, seed=seed, file=file, epochs=model.EARLIER)

    return Case(corpus, task, document_pool(corpus, task.tokenizer), earlier)


def scores(case: Case, way: Way, folder: Path, *, count: int | None = None) -> Table:
    """Scores of the first queries, [query, document]; what the folder holds is not done again."""
    asked = case.corpus.queries[: way.queries if count is None else count]
    digest = hashlib.sha256(repr(way.score).split(" at 0x")[0].encode()).hexdigest()[:12]
    parts = []
    for start in range(0, len(asked), way.block):
        block = asked[start : start + way.block]
        file = folder / f"scores-{digest}-{start}-{len(block)}.npz"
        if not file.exists():
            before = time.process_time()
            found = way.score(case, block)
            whole = file.with_suffix(".part.npz")
            np.savez(whole, scores=found, seconds=time.process_time() - before)
            whole.replace(file)
        parts.append(np.load(file)["scores"])
    return np.concatenate(parts)


def ranked(values: npt.NDArray[np.float32]) -> Places:
    """Places from the highest score to the lowest; of equal ones the first document first."""
    return np.argsort(-values, kind="stable")


def judge(corpus: Corpus, asked: Sequence[Query], values: Table) -> dict[str, float | None]:
    """What rankings are worth, as means over queries.

    - `MRR`: one over the rank of the first document that states the fact.
    - `recall@10`: the share of the documents stating the fact that are among the first ten; of ten,
      if there are more.
    - `reworded recall@10`: the same for reworded documents alone, in the same ranking, over queries
      that have one.
    - `shared recall@10`: recall@10 over queries whose answer is that of several facts: currencies.
    - `all found`: the share of queries with a recall of 1.
    - `first is a trap`: the share of queries whose first document is one of the fact's traps.
    """
    rows, reworded, shared = [], [], []
    answers = Counter(fact.answer for fact in corpus.facts)
    for own, question in zip(values, asked, strict=True):
        order, true = ranked(own), corpus.stating(question)
        top, worded = set(order[:TOP].tolist()), corpus.reworded(question)
        recall = len(top & true) / min(TOP, len(true))
        first = int(np.isin(order, list(true)).argmax()) + 1
        best = corpus.documents[order[0]]
        trapped = best.fact == question.fact and best.kind == "trap"
        rows.append((1 / first, recall, recall == 1, trapped))
        if answers[question.answer] > 1:
            shared.append(recall)
        if worded:
            reworded.append(len(top & worded) / len(worded))
    means = np.mean(rows, axis=0)
    return {
        "queries": len(asked),
        "MRR": float(means[0]),
        "recall@10": float(means[1]),
        "reworded recall@10": _mean(reworded),
        "shared recall@10": _mean(shared),
        "all found": float(means[2]),
        "first is a trap": float(means[3]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
