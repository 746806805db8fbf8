"""Every way of scoring in all its settings: scores of all queries on all candidates, kept in files.

Settings of a method that are to be chosen (damping, rise, measure) are all scored; which one is
reported is decided on queries and half-subsets that are in no figure (`__main__.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit import DiffusionTask, ForwardINF, Pool
from auditkit.engine.preconditioner import Choice
from auditkit.engine.response import Response
from benchmarks.diffusion import baselines
from benchmarks.diffusion.baselines import DAMPINGS, TIMES, Floats, Noise, Quantity
from benchmarks.diffusion.data import Candidates, Images
from benchmarks.diffusion.model import scheduler
from benchmarks.diffusion.truth import Explained, Queries

MeasureName: TypeAlias = Literal["loss", "squared-norm"]
TrainMeasureName: TypeAlias = Literal["loss", "squared-norm", "outputs"]


@dataclass(frozen=True)
class Case:
    """One model, its candidates, and images that are explained.

    Attributes:
        explained: the model and its checkpoints.
        data: the candidates.
        images: float32 [query, 4, 8, 8].
        ids: of the queries.
        sets: names of the groups of each round, "" for queries without a group.
        sizes: how many of the queries are of each kind and use, in order.
        cache: where gradients are kept.
        name: of these queries, in the names of files.
        engines: by preconditioner, so that curvature is estimated once.
        products: of gradients, by name: queries and candidates, and candidates among themselves.
    """

    explained: Explained
    data: Candidates
    images: Images
    ids: tuple[str, ...]
    sets: tuple[str, ...]
    sizes: Mapping[str, int]
    cache: Path
    name: str
    engines: dict[str, ForwardINF] = field(default_factory=dict)
    products: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)

    @property
    def queries(self) -> Pool:
        """The queries under the empty token."""
        return Pool.from_arrays(self.images, np.zeros(len(self.ids), np.int64), ids=self.ids)

    def gradients(self, quantity: Quantity, noise: Noise) -> tuple[Floats, Floats]:
        """Of the queries and of the candidates."""
        model, stem = self.explained.model, f"{quantity.replace(' ', '-')}-{noise}"
        seeds = (11, 12) if noise == "own" else (4, 4)
        one = partial(baselines.gradients, model, quantity=quantity, noise=noise)
        return (
            one(self.images, seed=seeds[0], file=self.cache / f"gradients-{stem}-{self.name}.npy"),
            one(self.data.images, seed=seeds[1], file=self.cache / f"gradients-{stem}.npy"),
        )

    def engine(self, preconditioner: Choice, task: DiffusionTask) -> ForwardINF:
        """Forward-INF on the model with that preconditioner, measured by that task."""
        if preconditioner not in self.engines:
            self.engines[preconditioner] = ForwardINF(
                task, train=self.data.pool, preconditioner=preconditioner
            )
        return self.engines[preconditioner]


Way: TypeAlias = Callable[[Case], Floats]


def baseline_ways() -> dict[str, Way]:
    """Likeness, gradient products, TRAK and D-TRAK, each image with noises of its own or not."""
    ways: dict[str, Way] = {
        "pixel L2": lambda case: baselines.pixels(case.images, case.data.images),
        "denoiser-feature cosine": _features,
    }
    noises: dict[Noise, str] = {"own": "", "shared": ", same noises"}
    for noise, said in noises.items():
        ways[f"gradient dot product{said}"] = partial(_products, noise=noise, score=baselines.dot)
        ways[f"gradient cosine{said}"] = partial(_products, noise=noise, score=baselines.cosine)
        for damping in DAMPINGS:
            ways[f"TRAK, loss{said} | lambda {damping:g}"] = partial(
                _trak, quantity="loss", noise=noise, damping=damping
            )
            ways[f"D-TRAK{said} | lambda {damping:g}"] = partial(
                _trak, quantity="squared norm", noise=noise, damping=damping
            )
    for damping in DAMPINGS:
        ways[f"D-TRAK, {baselines.PROJECTED} projections | lambda {damping:g}"] = partial(
            _projected_trak, damping=damping
        )
    return ways


def first_order_ways() -> dict[str, Way]:
    """Forward-INF's first-order responses, of all queries at once by per-example gradients."""
    settings: tuple[tuple[Choice, MeasureName, dict[str, bool | int]], ...] = (
        ("kfac", "loss", {}),
        ("ekfac", "loss", {}),
        ("diagonal", "loss", {}),
        ("none", "loss", {}),
        ("kfac", "squared-norm", {}),
        ("kfac", "loss", {"shared": False}),
        ("diagonal", "loss", {"shared": False}),
        ("ekfac", "loss", {"noises": 2}),
    )
    said = {"shared": ", own noises", "noises": ", two noises"}
    return {
        f"Forward-INF first-order, {measure} | {preconditioner}{''.join(said[k] for k in draws)}": (
            partial(
                forward_inf, preconditioner=preconditioner, measure=measure,
                response="first-order", **draws,
            )
        )
        for preconditioner, measure, draws in settings
    }  # fmt: skip


def finite_ways() -> dict[str, Way]:
    """Forward-INF with finite steps: a pass over the candidates per query."""
    settings: tuple[tuple[Choice, TrainMeasureName, float], ...] = (
        ("kfac", "loss", 1.5),
        ("kfac", "loss", 0.5),
        ("diagonal", "loss", 1.5),
        ("diagonal", "loss", 0.5),
        ("kfac", "outputs", 1.5),
        ("kfac", "squared-norm", 0.5),
    )
    return {
        f"Forward-INF, {measure} | {preconditioner}, rise {rise:g}": partial(
            forward_inf, preconditioner=preconditioner, measure=measure, rise=rise
        )
        for preconditioner, measure, rise in settings
    }


def forward_inf(
    case: Case,
    *,
    preconditioner: Choice,
    measure: TrainMeasureName,
    response: Response = "finite",
    rise: float = 0.5,
    shared: bool = True,
    noises: int = 1,
    groups: tuple[str, ...] | None = None,
) -> Floats:
    """Scores by the public engine, as the user has them.

    `outputs`: by how far the outputs move when the loss has been raised.
    """
    task = DiffusionTask(
        case.explained.model, scheduler(), timesteps=TIMES, noises=noises, shared=shared
    )
    engine = case.engine(preconditioner, task).configured(
        measure="loss" if measure == "outputs" else measure,
        train_measure=measure,
        response=response,
        rise=rise,
        task=task,
    )
    return engine.influence(case.queries, groups=groups).values


@dataclass(frozen=True)
class Scored:
    """Scores of a case's queries, and what they took.

    Attributes:
        values: float32 [query, candidate].
        together: float32 [kind and set, candidate], where sets are updates of their own.
        sizes: how many of the queries are of each kind and use, in order.
        seconds: on the processor.
    """

    values: Floats
    together: Floats | None
    sizes: Mapping[str, int]
    seconds: float

    def of(self, name: str) -> Floats:
        """The scores of the queries of one kind and use."""
        start = sum(list(self.sizes.values())[: list(self.sizes).index(name)])
        return self.values[start : start + self.sizes[name]]

    def of_sets(self, name: str, own: Queries) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Scores of the sets of queries of one kind and use, and the group of each set.

        The mean over the set's queries, where it is no update of its own.
        """
        values = self.of(name)
        sets = list(dict.fromkeys(zip(own.rounds.tolist(), own.groups.tolist(), strict=True)))
        groups = np.array([group for _, group in sets])
        if self.together is None:
            members = [(own.rounds == turn) & (own.groups == group) for turn, group in sets]
            return np.stack([values[rows].mean(axis=0) for rows in members]), groups
        asked = [kind for kind in self.sizes if not kind.startswith("unconditional")]
        start = asked.index(name) * len(sets)
        return self.together[start : start + len(sets)], groups


def scored(
    ways: Mapping[str, Way], case: Case, *, only: str = "", stored: bool = False
) -> Iterator[tuple[str, Scored]]:
    """Names and scores of the ways that begin with `only`, kept in files.

    With `stored`, of those alone whose files are there.
    """
    for name, way in ways.items():
        if not name.startswith(only):
            continue
        stem = name.replace(" | ", "--").replace(", ", "-").replace(" ", "_")
        file = case.cache / "scores" / f"{stem}--{case.name}.npz"
        if stored and not file.exists():
            continue
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            start = time.process_time()
            parts = {"values": way(case)}
            seconds = time.process_time() - start
            if isinstance(way, partial) and way.func is forward_inf and "rise" in way.keywords:
                parts["together"] = _by_set(case, way)
            np.savez(file, seconds=seconds, **parts)
        kept = np.load(file)
        together = kept.get("together")
        yield name, Scored(kept["values"], together, case.sizes, float(kept["seconds"]))


def _by_set(case: Case, way: partial[Floats]) -> Floats:
    """Scores of sets of queries as one update each: those of each kind after another."""
    rows = [row for row, name in enumerate(case.sets) if name]
    asked = replace(case, images=case.images[rows], ids=tuple(case.ids[row] for row in rows))
    return way(asked, groups=tuple(case.sets[row] for row in rows))


def _features(case: Case) -> Floats:
    model = case.explained.model
    found = baselines.features(model, np.concatenate([case.images, case.data.images]))
    return found[: len(case.images)] @ found[len(case.images) :].T


def _products(case: Case, *, noise: Noise, score: Callable[[Floats, Floats], Floats]) -> Floats:
    return score(*case.gradients("loss", noise))


def _trak(case: Case, *, quantity: Quantity, noise: Noise, damping: float) -> Floats:
    name = f"{quantity}, {noise}"
    if name not in case.products:
        queries, train = case.gradients(quantity, noise)
        case.products[name] = queries @ train.T, train @ train.T
    return baselines.trak(*case.products[name], damping=damping)


def _projected_trak(case: Case, *, damping: float) -> Floats:
    file = case.cache / f"projected-{case.name}.npz"
    if not file.exists():
        queries, train = baselines.projected(case.gradients("squared norm", "own"))
        np.savez(file, queries=queries, train=train)
    kept = np.load(file)
    queries, train = kept["queries"], kept["train"]
    return baselines.trak(queries @ train.T, train @ train.T, damping=damping)
