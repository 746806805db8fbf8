"""What is computed without any library: gradient products and similarity of features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import normalize

from benchmarks.attribution.case import MEASURES, Case, Floats, Method, as_floats


def gradients(model: nn.Module, inputs: Tensor, labels: Tensor, *, measure: str) -> Tensor:
    """Gradient of each example's measure, [example, parameter]."""
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def one(values: dict[str, Tensor], example: Tensor, label: Tensor) -> Tensor:
        return MEASURES[measure](functional_call(model, values, (example[None],)), label[None])

    per_example = vmap(grad(one), in_dims=(None, 0, 0), chunk_size=256)
    return torch.cat(
        [part.flatten(1) for part in per_example(weights, inputs, labels).values()], dim=1
    )


def gradient_products(case: Case, *, measure: str, cosine: bool = False) -> Floats:
    """Products, or cosines, of a query's and a training example's gradients."""
    total, data = torch.zeros(len(case.data.query_y), len(case.data.train_y)), case.data
    for model in case.models:
        query = gradients(model, data.query_x, data.query_y, measure=measure)
        train = gradients(model, data.train_x, data.train_y, measure=measure)
        if cosine:
            query, train = normalize(query), normalize(train)
        total += query @ train.T
    return as_floats(total / len(case.models))


def feature_cosine(case: Case) -> Floats:
    """Cosine of what goes into the last layer."""
    total = torch.zeros(len(case.data.query_y), len(case.data.train_y))
    with torch.no_grad():
        for model in case.models:
            body = model[:-1]
            total += normalize(body(case.data.query_x)) @ normalize(body(case.data.train_x)).T
    return as_floats(total / len(case.models))


METHODS = (
    Method(
        "gradient dot product",
        "the product of the two gradients of the same measure (TracIn at the last checkpoint)",
        {
            "loss": lambda case: gradient_products(case, measure="loss"),
            "margin": lambda case: gradient_products(case, measure="margin"),
        },
    ),
    Method(
        "gradient cosine",
        "the same, divided by the lengths of the gradients",
        {
            "loss": lambda case: gradient_products(case, measure="loss", cosine=True),
            "margin": lambda case: gradient_products(case, measure="margin", cosine=True),
        },
    ),
    Method(
        "penultimate features, cosine",
        "similarity of what goes into the last layer",
        {"": feature_cosine},
    ),
)
