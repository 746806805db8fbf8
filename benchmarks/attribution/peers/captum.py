"""captum: TracIn by per-example gradients, of all layers or of the last one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmarks.attribution.case import Case, Floats, Method, as_floats, margin_loss

BATCH = 256


class _Margin(nn.Module):
    """The margin as captum wants a loss: with its reduction said."""

    reduction = "sum"

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        return margin_loss(scores, labels)


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> float:
    model.load_state_dict(weights)
    return 1.0


def _query_loss(measure: str) -> nn.Module:
    return _Margin() if measure == "margin" else nn.CrossEntropyLoss(reduction="sum")


def tracin(case: Case, *, measure: str = "loss", batch: int = BATCH) -> Floats:
    """TracInCP: gradient products, summed over checkpoints.

    Per-example gradients by captum's own fast way, which knows Linear and Conv2d layers; where a
    network has others with weights, those layers are left out.
    """
    from captum.influence import TracInCP

    known = [name for name, layer in case.models[0].named_modules()
             if isinstance(layer, nn.Linear | nn.Conv2d)]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = TracInCP(
            copy.deepcopy(case.models[0]),
            case.train_set,
            [model.state_dict() for model in case.models],
            checkpoints_load_func=_load,
            layers=known,
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            test_loss_fn=_query_loss(measure),
            batch_size=batch,
            sample_wise_grads_per_batch=True,
        )
        return as_floats(explainer.influence((case.data.query_x, case.data.query_y)))


def tracin_last_layer(case: Case, *, measure: str = "loss", batch: int = BATCH) -> Floats:
    """TracInCPFast: the same for the last layer only, from its inputs and output gradients."""
    from captum.influence import TracInCPFast

    model = copy.deepcopy(case.models[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = TracInCPFast(
            model,
            model[-1],
            case.train_set,
            [other.state_dict() for other in case.models],
            checkpoints_load_func=_load,
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            test_loss_fn=_query_loss(measure),
            batch_size=batch,
        )
        with torch.enable_grad():
            return as_floats(explainer.influence((case.data.query_x, case.data.query_y)))


METHODS = (
    Method(
        "captum TracInCP",
        "gradient products over all layers, summed over checkpoints",
        {
            "query's loss": tracin,
            "query's margin": lambda case: tracin(case, measure="margin"),
        },
    ),
    Method(
        "captum TracInCPFast",
        "gradient products over the last layer, summed over checkpoints",
        {
            "query's loss": tracin_last_layer,
            "query's margin": lambda case: tracin_last_layer(case, measure="margin"),
        },
    ),
)
