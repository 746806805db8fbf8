"""Which examples of a pool are most alike in a model's eyes: nearest by their features' cosine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from auditkit.pool import Positions

CANDIDATES = 20_000
"""Among how many examples neighbours are looked for: a sample of larger pools, or the search would
cost more than the replays."""

_BLOCK = 64
"""So many examples are compared with all candidates at a time, for the memory's sake."""


def nearest(
    features: Tensor, of: Positions, among: Positions, *, count: int
) -> npt.NDArray[np.int64]:
    """The nearest others by the cosine of their features, nearest first, int64 [of, count].

    Features that are not finite, or all zero, have no direction: such an example has no neighbours
    and is nobody's. Where there are fewer than `count`, the rest of the row is -1.

    Args:
        features: [example, feature].
        of: whose neighbours are looked for.
        among: who may be a neighbour; nobody is their own.
        count: of neighbours, at least 1.
    """
    known = features.isfinite().all(dim=1) & (features != 0).any(dim=1)
    directions = normalize(features.where(known[:, None], torch.zeros(())), dim=1)
    candidates = torch.from_numpy(among).to(features.device)
    beside, hidden = directions[candidates], ~known[candidates]
    kept = min(count, len(among))
    found = np.full((len(of), count), -1, dtype=np.int64)
    for first in range(0, len(of), _BLOCK):
        rows = torch.from_numpy(of[first : first + _BLOCK]).to(features.device)
        alike = directions[rows] @ beside.T
        alike[(rows[:, None] == candidates) | hidden | ~known[rows, None]] = -torch.inf
        values, places = alike.topk(kept, dim=1)
        chosen = candidates[places].where(values > -torch.inf, -1)
        found[first : first + _BLOCK, :kept] = chosen.cpu().numpy()
    return found
