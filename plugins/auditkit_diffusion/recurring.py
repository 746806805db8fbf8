"""Which training images recur behind a group of generated images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import Pool
from auditkit_diffusion.measuring import FIRST, Table, standings


def recurring(
    train: Pool,
    queries: Pool,
    first: Sequence[npt.NDArray[np.int64]],
    standing: Table,
    together: Table,
) -> pl.DataFrame:
    """Training images among the ten strongest of several generated images, or of all at once.

    Args:
        train: the training images.
        queries: the generated images.
        first: positions of the ten strongest of each generated image.
        standing: [query, train].
        together: [train]; scores where all generated images are unlearned by one update.
    """
    times = Counter(int(place) for row in first for place in row)
    group = standings(together[None])[0]
    order = np.argsort(-group, kind="stable")
    ranks = np.empty(len(train), dtype=np.int64)
    ranks[order] = np.arange(1, len(train) + 1)
    several = {place for place, count in times.items() if count > 1}
    chosen = sorted(
        several | {int(place) for place in order[:FIRST]},
        key=lambda place: (-times[place], -group[place]),
    )
    labels = None if train.label is None else train.metadata[train.label]
    return pl.DataFrame(
        [
            (
                train.ids[place],
                times[place],
                len(queries),
                float(standing[:, place].mean()),
                float(group[place]),
                int(ranks[place]),
                None if labels is None else str(labels[place]),
            )
            for place in chosen
        ],
        schema={
            "example_id": pl.String(),
            "among the first ten of": pl.Int64(),
            "generated images": pl.Int64(),
            "mean standing": pl.Float64(),
            "standing for all at once": pl.Float64(),
            "rank for all at once": pl.Int64(),
            "label": pl.String(),
        },
        orient="row",
    )
