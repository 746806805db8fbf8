"""Which source taught it: behaviours by the values of a metadata column.

A group's strength is the mean influence of its examples, in units of the spread of the influences
on the behaviour. How likely as high a mean is by chance is told by dealing the groups out anew: the
same numbers of examples, drawn at random. So a large group needs more than one strong example, and
a small one is not taken for a source because of a single lucky one. P-values are corrected for the
number of groups and behaviours (Benjamini and Hochberg 1995).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import ColumnError, did_you_mean
from auditkit_tracing.measuring import Examples

Floats = npt.NDArray[np.float64]

MISSING = "(missing)"
SIGNIFICANT = 0.05
"""The false-discovery rate at which a group is said to have taught a behaviour."""

_DEALS = 2_000
_MOST = 1_000

_SCHEMA = {
    "query_id": pl.String(),
    "group": pl.String(),
    "examples": pl.Int64(),
    "flagged": pl.Int64(),
    "strength": pl.Float64(),
    "share": pl.Float64(),
    "q": pl.Float64(),
}


def values_of(metadata: pl.DataFrame, column: str, whole: Examples) -> list[str]:
    """The value of each whole example in a column, as text: that of its first window.

    Raises:
        ColumnError: there is no such column, or all or too many of its values differ.
    """
    if column not in metadata.columns:
        raise ColumnError(
            f"There is no column {column!r} in the metadata of the training examples; "
            f"{did_you_mean(column, metadata.columns)}"
        )
    _, first = np.unique(whole.of, return_index=True)
    cells = metadata[column].gather(first).to_list()
    found = [MISSING if cell is None else str(cell) for cell in cells]
    different = len(set(found))
    if different > _MOST or (different == len(found) > 1) or different < 2:
        raise ColumnError(
            f"The column {column!r} has {different:,} different values for {len(found):,} training "
            f"examples: to compare groups, expected at least 2, at most {_MOST:,}, and some with "
            "several examples."
        )
    return found


def by_groups(
    units: Floats,
    flagged: npt.NDArray[np.bool_],
    values: list[str],
    names: list[str],
    *,
    seed: int,
) -> pl.DataFrame:
    """How strongly each group taught each behaviour, and how likely that is by chance.

    Args:
        units: float64 [behaviour, example]; influences in units of their spread, 0, their middle,
            for an example that is the query.
        flagged: bool [behaviour, example].
        values: the group of each example.
        names: of the behaviours.
        seed: for the deals.

    Returns:
        A row per behaviour and group, the strongest first: `strength`, the mean; `share`,
        the group's part of all that is flagged; `q`, the false-discovery rate.
    """
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - slow to import

    groups, of = np.unique(np.array(values), return_inverse=True)
    sizes = np.bincount(of)
    random = np.random.default_rng([seed % 2**64, 0x6709])
    means = np.stack([np.bincount(of, weights=own) / sizes for own in units])
    higher = np.zeros_like(means)
    for _ in range(_DEALS):
        dealt = random.permutation(of)
        for row, own in enumerate(units):
            higher[row] += np.bincount(dealt, weights=own) / sizes >= means[row] - 1e-12
    rates = false_discovery_control(((1 + higher) / (1 + _DEALS)).ravel()).reshape(means.shape)
    rows = []
    for row, name in enumerate(names):
        counts = np.bincount(of, weights=flagged[row], minlength=len(sizes))
        for place in np.argsort(-means[row], kind="stable"):
            rows.append(
                {
                    "query_id": name,
                    "group": str(groups[place]),
                    "examples": int(sizes[place]),
                    "flagged": int(counts[place]),
                    "strength": float(means[row, place]),
                    "share": float(counts[place] / counts.sum()) if counts.sum() else None,
                    "q": float(rates[row, place]),
                }
            )
    return pl.DataFrame(rows, schema=_SCHEMA)
