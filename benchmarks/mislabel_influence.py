"""Wrong labels by influence, as textbooks have it: captum's scores for `benchmarks.mislabel`.

Both are of the final model alone, which is all that an audit is given.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.fashion import DEVIATION, MEAN, Labelled, read_images

Scores = npt.NDArray[np.float32]

SELF, TRUSTED = (
    "captum TracInCP, self-influence", "captum TracInCP, signed influence of 500 trusted examples",
)  # fmt: skip
COUNT, AT_ONCE, BATCH = 500, 50, 256


def influence_scores(model: nn.Module, data: Labelled) -> dict[str, Scores]:
    """Scores [example] that are higher where a label looks worse.

    - An example's influence on itself (Pruthi et al. 2020, section 3): what is wrong is learnt by
      its own gradient alone.
    - Less its mean influence on the right answers of `COUNT` test images: what is wrong harms them.
    """
    from captum.influence import TracInCP

    train = TensorDataset(torch.from_numpy(data.images), torch.from_numpy(data.given))
    images, labels = read_images("t10k")
    pixels = ((images[:COUNT, None] / np.float32(255) - MEAN) / DEVIATION).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = TracInCP(
            copy.deepcopy(model),
            train,
            [copy.deepcopy(model.state_dict())],
            checkpoints_load_func=_load,
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            batch_size=BATCH,
            sample_wise_grads_per_batch=True,
        )
        own = explainer.self_influence()
        asked = (torch.from_numpy(pixels), torch.from_numpy(labels[:COUNT]))
        on_trusted = [
            explainer.influence(part).sum(dim=0)
            for part in zip(*(both.split(AT_ONCE) for both in asked), strict=True)
        ]
    return {SELF: own.float().numpy(), TRUSTED: -torch.stack(on_trusted).sum(dim=0).float().numpy()}


def _load(model: nn.Module, weights: dict[str, Tensor]) -> float:
    model.load_state_dict(weights)
    return 1.0
