"""dattri: influence functions by three inverses of the Hessian, TRAK, and TracIn.

Influence functions invert the Hessian of each batch of the full training loader and add the results
up, so the loader has one batch. TracIn and TRAK share a dictionary of projection settings at module
level that every use changes; all of them are named each time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.attribution.case import MEASURES, SMALL, Case, Floats, Method, as_floats, weights_of

if TYPE_CHECKING:
    from dattri.task import AttributionTask

BATCH = 200
Inverse = Literal["explicit", "CG", "Arnoldi"]


@torch.no_grad()
def influence(
    case: Case,
    *,
    inverse: Inverse,
    measure: str = "loss",
    regularization: float = 0.0,
    iterations: int = 10,
) -> Floats:
    """Influence functions with the Hessian of the mean training loss, averaged over checkpoints.

    The library's own loop transforms all queries anew for each batch of training examples; its
    parts are called here one by one, so that each query is transformed once. Without `no_grad` it
    keeps the graphs of all Hessian products, over 10 GB of them on the CNN.
    """
    from dattri.algorithm import influence_function as functions

    task = _task(case, measure)
    if inverse == "explicit":
        attributor = functions.IFAttributorExplicit(task, regularization=regularization)
    elif inverse == "CG":
        attributor = functions.IFAttributorCG(
            task, regularization=regularization, max_iter=iterations
        )
    else:
        attributor = functions.IFAttributorArnoldi(
            task, regularization=regularization, proj_dim=iterations, max_iter=100
        )
    attributor.cache(_whole(case.train_set))
    total = torch.zeros(len(case.data.query_y), len(case.data.train_y))
    at_once = 1 if weights_of(case) > SMALL and inverse == "CG" else BATCH
    for place in range(len(case.models)):
        queries = torch.cat([
            attributor.transform_test_rep(place, attributor.generate_test_rep(place, batch))
            for batch in _batches(case.query_set, at_once)
        ])  # fmt: skip
        total += queries @ torch.cat([
            attributor.transform_train_rep(place, attributor.generate_train_rep(place, batch))
            for batch in _batches(case.train_set, BATCH)
        ]).T  # fmt: skip
    return as_floats(total / len(case.models))


def tracin(
    case: Case, *, measure: str = "loss", projection: int | None = 512, batch: int | None = None
) -> Floats:
    """TracIn; by default of gradients projected to 512 dimensions, as the library has it."""
    from dattri.algorithm import TracInAttributor

    attributor = TracInAttributor(
        _task(case, measure),
        weight_list=torch.ones(len(case.models)),
        normalized_grad=False,
        projector_kwargs=_projection(projection or 512, case),
    )
    if projection is None:
        attributor.projector_kwargs = None  # the constructor takes None for its default of 512
    return as_floats(
        attributor.attribute(_whole(case.train_set, batch), _whole(case.query_set, batch)).T
    )


def trak(case: Case, *, projection: int, regularization: float = 0.0) -> Floats:
    """TRAK on the margin, averaged over checkpoints."""
    from dattri.algorithm import TRAKAttributor

    def probability(weights: dict[str, Tensor], example: tuple[Tensor, Tensor]) -> Tensor:
        scores = functional_call(model, weights, (example[0][None],))
        return scores.softmax(1)[0].gather(0, example[1].reshape(1))[0]

    from dattri.task import AttributionTask

    model = copy.deepcopy(case.models[0])
    margin = _function(model, lambda scores, labels: -MEASURES["margin"](scores, labels))
    attributor = TRAKAttributor(
        AttributionTask(margin, model, _checkpoints(case)),
        correct_probability_func=probability,
        projector_kwargs=_projection(projection, case),
        regularization=regularization,
    )
    attributor.cache(_whole(case.train_set))
    return as_floats(attributor.attribute(_whole(case.query_set)).T)


def _task(case: Case, measure: str) -> AttributionTask:
    from dattri.task import AttributionTask

    model = copy.deepcopy(case.models[0])
    mean_loss = _function(model, lambda scores, labels: MEASURES["loss"](scores, labels)
                          / len(labels))  # fmt: skip
    target = _function(model, MEASURES[measure])
    return AttributionTask(mean_loss, model, _checkpoints(case), target_func=target)


def _function(
    model: torch.nn.Module, loss: Callable[[Tensor, Tensor], Tensor]
) -> Callable[..., Tensor]:
    """A loss of weights and (inputs, labels), of one example or a batch of them."""

    def function(weights: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = data[0], data[1].reshape(-1)
        inputs = inputs if data[1].ndim else inputs[None]
        return loss(functional_call(model, weights, (inputs,)), labels)

    return function


def _checkpoints(case: Case) -> list[dict[str, Tensor]]:
    return [dict(model.state_dict()) for model in case.models]


def _projection(dimensions: int, case: Case) -> dict[str, int | str]:
    batch = max(len(case.data.train_y), len(case.data.query_y))
    return {
        "proj_dim": dimensions, "proj_max_batch_size": -(-batch // 8) * 8,
        "proj_seed": 0, "device": "cpu",
    }  # fmt: skip


def _batches(examples: TensorDataset, size: int) -> Iterator[tuple[Tensor, ...]]:
    """Batches in the form that the parts of an attributor expect: one more axis in front."""
    for batch in _whole(examples, size):
        yield tuple(field[None] for field in batch)


def _whole(examples: TensorDataset, batch: int | None = None) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(examples, batch_size=batch or len(examples), shuffle=False)


def _influence(inverse: Inverse, **settings: float | str | int) -> Callable[[Case], Floats]:
    return lambda case: influence(case, inverse=inverse, **settings)  # type: ignore[arg-type]


METHODS = (
    Method(
        "dattri influence function, explicit",
        "influence function with the exact Hessian, inverted",
        {
            f"query's {measure}, regularization {value:g}": _influence(
                "explicit", measure=measure, regularization=value
            )
            for measure in ("loss", "margin")
            for value in (0.0, 1e-3, 1e-2, 1e-1)
        },
        small_only=True,
    ),
    Method(
        "dattri influence function, CG",
        "influence function, by conjugate gradients on the Hessian",
        {
            f"query's {measure}, regularization {value:g}, {steps} iterations": _influence(
                "CG", measure=measure, regularization=value, iterations=steps
            )
            for measure in ("loss", "margin")
            for value, steps in ((0.0, 10), (1e-2, 10), (1e-1, 10), (1e-2, 50))
        },
        quick=tuple(
            f"query's loss, regularization {value:g}, 10 iterations" for value in (1e-2, 1e-1, 0.0)
        ),
    ),
    Method(
        "dattri influence function, Arnoldi",
        "influence function on the leading eigenvectors of the Hessian",
        {
            f"query's {measure}, regularization {value:g}, {size} vectors": _influence(
                "Arnoldi", measure=measure, regularization=value, iterations=size
            )
            for measure in ("loss", "margin")
            for value, size in ((0.0, 100), (0.0, 10), (1e-2, 10), (1e-2, 30), (1e-2, 50))
        },
        quick=tuple(
            f"query's loss, regularization {value:g}, {size} vectors"
            for value, size in ((0.0, 10), (1e-2, 30), (1e-2, 50))
        ),
    ),
    Method(
        "dattri TracIn",
        "gradient products, summed over checkpoints",
        {
            "query's loss, projected to 512": tracin,
            "query's loss": lambda case: tracin(case, projection=None),
            "query's margin": lambda case: tracin(case, measure="margin", projection=None),
        },
    ),
    Method(
        "dattri TRAK",
        "TRAK: margins, projected, with the inverse of their covariance",
        {
            f"{size} dimensions, regularization {value:g}": (
                lambda case, size=size, value=value: trak(
                    case, projection=size, regularization=value
                )
            )
            for size, value in ((512, 0.0), (2048, 0.0), (2048, 3e-2), (2048, 1e-1), (2048, 3e-1))
        },
    ),
)
