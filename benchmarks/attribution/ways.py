"""The ways of scoring whose cost is measured, by quantity and by which weights move."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.attribution.case import Case
from benchmarks.attribution.own import engine
from benchmarks.attribution.peers import captum, dattri
from benchmarks.attribution.peers.kronfluence import Kronfluence

BATCH = 256
Seconds = dict[str, float]


@dataclass(frozen=True)
class Way:
    """One way to score.

    Attributes:
        group: which weights move and what is computed; only ways of one group are compared.
        name: as the table calls it.
        library: what is imported before memory is read.
        work: does it and says how many seconds each part took.
        per_query: whether it runs all images anew for each query.
    """

    group: str
    name: str
    library: str
    work: Callable[[Case], Seconds]
    per_query: bool = False


def _timed(work: Callable[[Case], object]) -> Callable[[Case], Seconds]:
    def timed(case: Case) -> Seconds:
        start = time.perf_counter()
        work(case)
        return {"scores": time.perf_counter() - start}

    return timed


def inference(case: Case) -> Seconds:
    """One plain pass over the training examples: the unit of the tables."""
    start = time.perf_counter()
    with torch.inference_mode():
        for inputs in case.data.train_x.split(BATCH):
            case.models[0](inputs)
    return {"scores": time.perf_counter() - start}


def own(
    *, factors: bool = False, last_layer: bool = False, **settings: str
) -> Callable[[Case], Seconds]:
    """The engine with these settings; `factors` says whether curvature is fitted first."""

    def work(case: Case) -> Seconds:
        moving = {"parameters": f"{len(case.models[0]) - 1}.*"} if last_layer else {}
        scorer = engine(case, {"batch_size": BATCH, "replays": 0, **settings, **moving})
        queries, train, found = case.data.queries, case.data.train, {}
        if factors:
            start = time.perf_counter()
            few = torch.arange(1).numpy()
            scorer.influence(queries.subset(few), train.subset(few))
            found["factors"] = time.perf_counter() - start
        start = time.perf_counter()
        scorer.influence(queries, train)
        found["scores"] = time.perf_counter() - start
        return found

    return work


def kronfluence(strategy: str) -> Callable[[Case], Seconds]:
    """Kronfluence's scores, the fitting of its factors apart."""

    def work(case: Case) -> Seconds:
        with tempfile.TemporaryDirectory() as folder:
            analysis = Kronfluence(case.models[0], case, folder, strategy=strategy, batch=BATCH)
            start = time.perf_counter()
            analysis.fit()
            fitted = time.perf_counter()
            analysis.score()
            return {"factors": fitted - start, "scores": time.perf_counter() - fitted}

    return work


_ALL, _EKFAC, _LAST = (
    "all weights, gradient products", "all weights, EK-FAC", "last layer, gradient products",
)  # fmt: skip
PLAIN = Way("", "one plain pass", "torch", inference)
WAYS = (
    PLAIN,
    Way(_ALL, "auditkit, finite", "auditkit", own(preconditioner="none"), per_query=True),
    Way(_ALL, "auditkit, tangent", "auditkit", own(preconditioner="none", response="tangent"),
        per_query=True),
    Way(_ALL, "auditkit, products", "auditkit", own(preconditioner="none", response="products")),
    Way(_ALL, "captum TracInCP", "captum.influence", _timed(captum.tracin)),
    Way(_ALL, "dattri TracIn", "dattri.algorithm", _timed(
        lambda case: dattri.tracin(case, projection=None, batch=BATCH))),
    Way(_ALL, "kronfluence identity", "kronfluence.analyzer", kronfluence("identity")),
    Way(_EKFAC, "auditkit, finite", "auditkit", own(factors=True, preconditioner="ekfac"),
        per_query=True),
    Way(_EKFAC, "auditkit, tangent", "auditkit",
        own(factors=True, preconditioner="ekfac", response="tangent"), per_query=True),
    Way(_EKFAC, "auditkit, products", "auditkit",
        own(factors=True, preconditioner="ekfac", response="products")),
    Way(_EKFAC, "kronfluence EK-FAC", "kronfluence.analyzer", kronfluence("ekfac")),
    Way(_LAST, "auditkit, finite", "auditkit", own(last_layer=True, preconditioner="none")),
    Way(_LAST, "auditkit, products", "auditkit",
        own(last_layer=True, preconditioner="none", response="products")),
    Way(_LAST, "captum TracInCPFast", "captum.influence", _timed(captum.tracin_last_layer)),
)  # fmt: skip
