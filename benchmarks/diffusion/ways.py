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
from benchmarks.diffusion.baselines import DAMPINGS, Floats, Quantity
from benchmarks.diffusion.data import Candidates, Images
from benchmarks.diffusion.model import scheduler
from benchmarks.diffusion.truth import Explained

TIMES = 16
MeasureName: TypeAlias = Literal["loss", "squared-norm"]


@dataclass(frozen=True)
class Case:
    """One model, its candidates, and images that are explained.

    Attributes:
        explained: the model and its checkpoints.
        data: the candidates.
        images: float32 [query, 4, 8, 8].
        ids: of the queries.
        groups: int64 [query]; the group of each, 0 for none.
        sizes: how many of the queries are of each kind and use, in order.
        cache: where gradients are kept.
        name: of these queries, in the names of files.
        engines: by preconditioner, so that curvature is estimated once.
    """

    explained: Explained
    data: Candidates
    images: Images
    ids: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    sizes: Mapping[str, int]
    cache: Path
    name: str
    engines: dict[str, ForwardINF] = field(default_factory=dict)

    @property
    def queries(self) -> Pool:
        """The queries under the empty token."""
        return Pool.from_arrays(self.images, np.zeros(len(self.ids), np.int64), ids=self.ids)

    def gradients(self, quantity: Quantity) -> tuple[Floats, Floats]:
        """Of the queries and of the candidates."""
        model, stem = self.explained.model, quantity.replace(" ", "-")
        one = partial(baselines.gradients, model, quantity=quantity, times=TIMES)
        return (
            one(self.images, seed=11, file=self.cache / f"gradients-{stem}-{self.name}.npy"),
            one(self.data.images, seed=12, file=self.cache / f"gradients-{stem}.npy"),
        )

    def engine(self, preconditioner: Choice, damping: float) -> ForwardINF:
        """Forward-INF on the model with that preconditioner."""
        name = f"{preconditioner} {damping}"
        if name not in self.engines:
            self.engines[name] = ForwardINF(
                DiffusionTask(self.explained.model, scheduler(), timesteps=TIMES),
                train=self.data.pool,
                preconditioner=preconditioner,
                damping=damping,
            )
        return self.engines[name]


Way: TypeAlias = Callable[[Case], Floats]


def baseline_ways() -> dict[str, Way]:
    """Likeness, gradient products, TRAK and D-TRAK."""
    ways: dict[str, Way] = {
        "pixel L2": lambda case: baselines.pixels(case.images, case.data.images),
        "denoiser-feature cosine": _features,
        "gradient dot product": lambda case: baselines.dot(*case.gradients("loss")),
        "gradient cosine": lambda case: baselines.cosine(*case.gradients("loss")),
        "squared-norm gradient cosine": lambda case: baselines.cosine(
            *case.gradients("squared norm")
        ),
    }
    measured: dict[str, Quantity] = {"TRAK, loss": "loss", "D-TRAK": "squared norm"}
    for method, quantity in measured.items():
        for damping in DAMPINGS:
            ways[f"{method} | lambda {damping:g}"] = partial(
                _trak, quantity=quantity, damping=damping
            )
    for damping in DAMPINGS:
        ways[f"D-TRAK, {baselines.PROJECTED} projections | lambda {damping:g}"] = partial(
            _projected_trak, damping=damping
        )
    return ways


def first_order_ways() -> dict[str, Way]:
    """Forward-INF's first-order responses, of all queries at once by per-example gradients."""
    ways: dict[str, Way] = {}
    for preconditioner, damping in (
        ("none", 1.0), ("diagonal", 1.0), ("kfac", 1.0), ("ekfac", 1.0),
        ("diagonal", 0.1), ("diagonal", 10.0), ("kfac", 0.1), ("kfac", 10.0),
        ("ekfac", 0.1), ("ekfac", 10.0),
    ):  # fmt: skip
        for measure in ("loss", "squared-norm"):
            ways[f"Forward-INF first-order, {measure} | {preconditioner}, damping {damping:g}"] = (
                partial(
                    forward_inf, preconditioner=preconditioner, damping=damping,
                    measure=measure, response="first-order",
                )
            )  # fmt: skip
    return ways


def finite_ways() -> dict[str, Way]:
    """Forward-INF with finite steps: a pass over the candidates per query."""
    return {
        f"Forward-INF, {measure} | {preconditioner}, rise {rise:g}": partial(
            forward_inf, preconditioner=preconditioner, damping=1.0, measure=measure, rise=rise
        )
        for measure, preconditioner, rise in (
            ("loss", "diagonal", 0.5), ("loss", "kfac", 0.5), ("loss", "diagonal", 1.5),
            ("loss", "kfac", 1.5), ("squared-norm", "diagonal", 0.5),
            ("squared-norm", "kfac", 0.5),
        )
    }  # fmt: skip


def forward_inf(
    case: Case,
    *,
    preconditioner: Choice,
    damping: float,
    measure: MeasureName,
    response: Response = "finite",
    rise: float = 0.5,
    groups: tuple[str, ...] | None = None,
) -> Floats:
    """Scores by the public engine, as the user has them."""
    engine = case.engine(preconditioner, damping).configured(
        measure=measure, train_measure=measure, response=response, rise=rise
    )
    return engine.influence(case.queries, groups=groups).values


@dataclass(frozen=True)
class Scored:
    """Scores of a case's queries, and what they took.

    Attributes:
        values: float32 [query, candidate].
        together: float32 [kind and group, candidate], where groups are updates of their own.
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

    def groups(
        self, name: str, groups: npt.NDArray[np.int64]
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Scores of each group of the queries of one kind and use, and which groups these are.

        The mean over the group's queries, where it is no update of its own.
        """
        own, named = self.of(name), np.unique(groups)
        if self.together is None:
            return np.stack([own[groups == group].mean(axis=0) for group in named]), named
        asked = [kind for kind in self.sizes if not kind.startswith("unconditional")]
        start = asked.index(name) * len(named)
        return self.together[start : start + len(named)], named


def scored(ways: Mapping[str, Way], case: Case, *, only: str = "") -> Iterator[tuple[str, Scored]]:
    """Names and scores of the ways that begin with `only`, kept in files."""
    for name, way in ways.items():
        if not name.startswith(only):
            continue
        stem = name.replace(" | ", "--").replace(", ", "-").replace(" ", "_")
        file = case.cache / "scores" / f"{stem}--{case.name}.npz"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            start = time.process_time()
            parts = {"values": way(case)}
            seconds = time.process_time() - start
            if isinstance(way, partial) and way.func is forward_inf and "rise" in way.keywords:
                parts["together"] = _by_group(case, way)
            np.savez(file, seconds=seconds, **parts)
        kept = np.load(file)
        together = kept.get("together")
        yield name, Scored(kept["values"], together, case.sizes, float(kept["seconds"]))


def _by_group(case: Case, way: partial[Floats]) -> Floats:
    """Scores of groups as one update each: those of each kind after another."""
    rows = np.flatnonzero(case.groups)
    kinds = [case.ids[row].rsplit(" ", 1)[0] for row in rows]
    names = [f"{kind} {case.groups[row]}" for kind, row in zip(kinds, rows, strict=True)]
    asked = replace(case, images=case.images[rows], ids=tuple(case.ids[row] for row in rows))
    return way(asked, groups=tuple(names))


def _features(case: Case) -> Floats:
    model = case.explained.model
    found = baselines.features(model, np.concatenate([case.images, case.data.images]))
    return found[: len(case.images)] @ found[len(case.images) :].T


def _trak(case: Case, *, quantity: Quantity, damping: float) -> Floats:
    return baselines.trak(*case.gradients(quantity), damping=damping)


def _projected_trak(case: Case, *, damping: float) -> Floats:
    return baselines.trak(*_projections(case), damping=damping)


def _projections(case: Case) -> tuple[Floats, Floats]:
    file = case.cache / f"projected-{case.name}.npz"
    if not file.exists():
        queries, train = baselines.projected(case.gradients("squared norm"))
        np.savez(file, queries=queries, train=train)
    kept = np.load(file)
    return kept["queries"], kept["train"]
