"""traker: TRAK by its authors.

Its fast projector needs CUDA; on a CPU it takes its own `BasicProjector`.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Iterator

from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.attribution.case import Case, Floats, Method, as_floats

BATCH = 1_000


def trak(case: Case, *, projection: int, regularization: float = 0.0) -> Floats:
    """TRAK on the margin, averaged over checkpoints."""
    from trak import TRAKer

    with tempfile.TemporaryDirectory() as folder:
        traker = TRAKer(
            copy.deepcopy(case.models[0]),
            task="image_classification",
            train_set_size=len(case.data.train_y),
            save_dir=folder,
            device="cpu",
            proj_dim=projection,
            lambda_reg=regularization,
            use_half_precision=False,
            logging_level=logging.ERROR,
        )
        for place, model in enumerate(case.models):
            traker.load_checkpoint(model.state_dict(), model_id=place)
            for batch in _batches(case.train_set):
                traker.featurize(batch, num_samples=len(batch[1]))
        traker.finalize_features()
        for place, model in enumerate(case.models):
            traker.start_scoring_checkpoint(
                "queries", model.state_dict(), model_id=place, num_targets=len(case.data.query_y)
            )
            for batch in _batches(case.query_set):
                traker.score(batch, num_samples=len(batch[1]))
        scores = Tensor(traker.finalize_scores("queries").copy())
    return as_floats(scores.T)


def _batches(examples: TensorDataset) -> Iterator[list[Tensor]]:
    yield from DataLoader(examples, batch_size=BATCH)


def _variant(projection: int, regularization: float) -> Callable[[Case], Floats]:
    return lambda case: trak(case, projection=projection, regularization=regularization)


METHODS = (
    Method(
        "traker TRAK",
        "TRAK: margins, projected, with the inverse of their covariance",
        {
            f"{size} dimensions, regularization {value:g}": _variant(size, value)
            for size, value in ((512, 0.0), (2048, 0.0), (2048, 30.0), (2048, 100.0), (2048, 300.0))
        },
    ),
)
