"""kronfluence: gradient products and EK-FAC influence over Linear and Conv2d layers."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn
from torch.distributions import Categorical

from benchmarks.attribution.case import (
    MEASURES,
    Case,
    Floats,
    Method,
    as_floats,
    summed_loss,
)

if TYPE_CHECKING:
    from kronfluence import Analyzer

BATCH = 256


class Kronfluence:
    """One model's analysis, in two steps: factors once, then scores for any queries."""

    def __init__(
        self, model: nn.Module, case: Case, folder: str, *, strategy: str, measure: str = "loss",
        modules: list[str] | None = None, batch: int = BATCH,
    ) -> None:  # fmt: skip
        self._case, self._strategy, self._batch = case, strategy, batch
        self._analyzer = _analyzer(model, folder, measure, modules)

    def fit(self) -> None:
        """Fit the factors on all training examples (for `identity` there is nothing to fit)."""
        from kronfluence import FactorArguments

        self._analyzer.fit_all_factors(
            "factors",
            self._case.train_set,
            per_device_batch_size=self._batch,
            factor_args=FactorArguments(strategy=self._strategy),
        )

    def score(self, *, damping: float | None = 1e-8) -> Floats:
        """Scores of all queries; None is the library's heuristic, .1 of the mean eigenvalue."""
        from kronfluence import ScoreArguments

        name = f"scores {damping}"
        self._analyzer.compute_pairwise_scores(
            name,
            "factors",
            self._case.query_set,
            self._case.train_set,
            per_device_query_batch_size=min(self._batch, len(self._case.data.query_y)),
            per_device_train_batch_size=self._batch,
            score_args=ScoreArguments(damping_factor=damping),
        )
        return as_floats(self._analyzer.load_pairwise_scores(name)["all_modules"])


def influence(
    case: Case, *, strategy: str = "ekfac", measure: str = "loss", damping: float | None = 1e-8
) -> Floats:
    """Influence by the factors of the strategy, averaged over models."""
    scores = []
    for model in case.models:
        with tempfile.TemporaryDirectory() as folder:
            analysis = Kronfluence(model, case, folder, strategy=strategy, measure=measure)
            analysis.fit()
            scores.append(analysis.score(damping=damping))
    return np.mean(scores, axis=0, dtype=np.float32)


def _analyzer(model: nn.Module, folder: str, measure: str, modules: list[str] | None) -> Analyzer:
    from kronfluence import Analyzer, Task, prepare_model

    class Classification(Task):
        """Class scores, cross-entropy in training, and the measure of a query."""

        def compute_train_loss(
            self, batch: list[Tensor], model: nn.Module, sample: bool = False
        ) -> Tensor:
            scores = model(batch[0])
            labels = Categorical(logits=scores.detach()).sample() if sample else batch[1]
            return summed_loss(scores, labels)

        def compute_measurement(self, batch: list[Tensor], model: nn.Module) -> Tensor:
            return MEASURES[measure](model(batch[0]), batch[1])

        def get_influence_tracked_modules(self) -> list[str] | None:
            return modules

    task = Classification()
    prepared = prepare_model(copy.deepcopy(model), task)
    return Analyzer(
        "analysis", prepared, task, cpu=True, disable_tqdm=True, output_dir=folder,
        log_level=logging.ERROR,
    )  # fmt: skip


def _variant(strategy: str, measure: str, damping: float | None = 1e-8) -> Callable[[Case], Floats]:
    return lambda case: influence(case, strategy=strategy, measure=measure, damping=damping)


_DAMPINGS: dict[str, float | None] = {
    "default damping": 1e-8, "heuristic damping": None,
    "damping 1e-4": 1e-4, "damping 1e-3": 1e-3, "damping 1e-2": 1e-2,
}  # fmt: skip

METHODS = (
    Method(
        "kronfluence identity",
        "gradient products over Linear and Conv2d layers",
        {f"query's {name}": _variant("identity", name) for name in ("loss", "margin")},
    ),
    Method(
        "kronfluence EK-FAC",
        "influence function with the eigenvalue-corrected Kronecker-factored Fisher matrix",
        {
            f"query's {name}, {said}": _variant("ekfac", name, damping)
            for name in ("loss", "margin")
            for said, damping in _DAMPINGS.items()
        },
    ),
)
