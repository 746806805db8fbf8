"""Are the documents found the cause? Training without them decides."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from benchmarks.tracing.model import probabilities, trained
from benchmarks.tracing.ranking import TOP, Places, ranked, scores
from benchmarks.tracing.ways import BM25, DEFAULT, Case

Arm: TypeAlias = Literal["Forward-INF", "BM25", "random"]
ARMS: tuple[Arm, ...] = get_args(Arm)
QUERIES = 20


def left_out(case: Case, arm: Arm, folder: Path, *, seed: int) -> Places:
    """The documents of an arm: the union of the first ten of all queries.

    The ways' unions differ in size a little: both are filled up with the next in their rankings, or
    for `random` drawn from documents that state other facts than those asked about, to ten for each
    query.
    """
    size = TOP * QUERIES
    if arm == "random":
        asked = {own.fact for own in case.corpus.queries[:QUERIES]}
        others = [
            place
            for place, own in enumerate(case.corpus.documents)
            if own.kind != "trap" and own.fact not in asked
        ]
        return np.random.default_rng([seed, 47]).choice(others, size=size, replace=False)
    table = scores(case, BM25 if arm == "BM25" else DEFAULT, folder, count=QUERIES)
    columns = np.stack([ranked(own) for own in table], axis=1)  # [rank, query]
    distinct = list(dict.fromkeys(columns.flatten().tolist()))
    return np.array(distinct[:size])


def probabilities_without(case: Case, arm: Arm | None, folder: Path, *, seed: int) -> list[float]:
    """The probability of each query's answer, after training without an arm's documents."""
    task = case.task
    if arm is not None:
        places = left_out(case, arm, folder, seed=seed)
        digest = hashlib.sha256(np.sort(places).astype("<i8").tobytes()).hexdigest()[:12]
        file = folder / f"without-{arm}-{digest}.pt"
        task = trained(case.corpus, seed=seed, file=file, left_out=places)
    pool = case.queries(case.corpus.queries[:QUERIES])
    return [float(own) for own in probabilities(task, pool)]
