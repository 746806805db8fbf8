"""The damped Gauss-Newton system, solved in the space of its rows.

The Gauss-Newton matrix of the mean training loss is H = R^T R / n: for each example, the rows of R
are gradients of its outputs along the eigenvectors of the outputs' own curvature, times the roots
of the eigenvalues (for cross-entropy, of diag(p) - p p^T). A fitted model is sure of most of its
examples, so most rows are next to nothing, and the heaviest few thousand hold nearly all of H. With
them, by the identity of Woodbury,

    (H + ridge)^-1 g = (g - R^T (R R^T / n + ridge)^-1 R g / n) / ridge

one Cholesky factorization of a matrix [row, row] serves every query and costs no pass over the
data. Rows are scaled so that the trace of H stays what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.engine.blocks import Block, Outer, joined
from auditkit.engine.curvature import Preconditioner, steady_function
from auditkit.engine.layers import Part
from auditkit.engine.outputs import OutputRows
from auditkit.engine.passes import Weights
from auditkit.engine.per_example import Reader
from auditkit.engine.probes import rows_as_probes
from auditkit.errors import SettingError
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.subject import Task

_BATCH = 64
_KEPT = 2**28
"""How many numbers of written-out rows may be kept: 1 GiB in single precision."""


@dataclass(frozen=True)
class GaussNewton:
    """H by its rows.

    Attributes:
        parts: every part of the trainable parameters.
        blocks: gradients of the rows, by part, divided by root n; none for a part that the
            outputs do not depend on.
        gram: inner products of the rows, float64 [row, row].
        share: the share of the outputs' curvature that the rows hold.
    """

    parts: tuple[Part, ...]
    blocks: Mapping[Part, Block]
    gram: Tensor
    share: float

    def ridge(self, *, damping: float, weight_decay: float = 0.0) -> float:
        """What is added to H: damping in units of its mean diagonal entry, and the weight decay.

        At least as much as rounding leaves visible: directions that no row holds would explode.
        """
        size = sum(shape.numel() for part in self.parts for shape in part.weights.values())
        mean = float(self.gram.diagonal().sum()) / size
        least = torch.finfo(torch.float32).eps * float(self.gram.diagonal().sum())
        return max(damping * mean + weight_decay, least, torch.finfo(torch.float32).tiny)

    def preconditioner(self, *, damping: float, weight_decay: float = 0.0) -> Preconditioner:
        """(H + ridge)^-1 as a function; mended once, since its terms cancel where H is large."""
        ridge = self.ridge(damping=damping, weight_decay=weight_decay)
        shifted = self.gram + ridge * torch.eye(len(self.gram)).to(self.gram)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if bool(failed):
            raise SettingError(
                f"The curvature cannot be solved with damping {damping:g} (of its mean diagonal "
                "entry): give the engine a larger damping; 1 is the default."
            )

        def once(packed: Mapping[Part, Tensor]) -> dict[Part, Tensor]:
            through = torch.cholesky_solve(self._products(packed).double(), factor)
            return {
                part: (own - self._combined(part, through.T, own)) / ridge
                for part, own in packed.items()
            }

        def solve(gradients: Weights) -> dict[str, Tensor]:
            packed = {part: part.pack(gradients) for part in self.parts}
            found = once(packed)
            through = self._products(found)
            missing = {
                part: own - self._combined(part, through.T, own) - ridge * found[part]
                for part, own in packed.items()
            }
            mended = {part: found[part] + own for part, own in once(missing).items()}
            unpacked = {n: w for part, own in mended.items() for n, w in part.unpack(own).items()}
            return {name: unpacked[name] for name in gradients}

        return solve

    def _products(self, packed: Mapping[Part, Tensor]) -> Tensor:
        """Each row times each direction, [row, q]."""
        found = [block.products(packed[part]) for part, block in self.blocks.items()]
        return torch.stack(found).sum(dim=0)

    def _combined(self, part: Part, weights: Tensor, like: Tensor) -> Tensor:
        """The rows' part, summed under weights [q, row]."""
        if part not in self.blocks:
            return torch.zeros_like(like)
        return self.blocks[part].combined(weights.to(like.dtype))


def gauss_newton(
    task: Task,
    model: nn.Module,
    pool: Pool,
    rows: OutputRows,
    *,
    device: torch.device,
    batch_size: int | None = None,
    progress: Progress = SILENT,
) -> GaussNewton:
    """H from gradients of output rows, by one forward and one backward pass per row."""
    reader = Reader(model, steady_function(task), pool, device=device)
    found: dict[Part, list[Block]] = {part: [] for part in reader.parts}
    probes = rows_as_probes(
        task, pool, rows, batch_size=min(_BATCH, batch_size or _BATCH), device=device
    )
    for blocks in probes.over(
        lambda where: reader.blocks(probes.function, probes.pairs(where))[1],
        doing="reading the curvature's rows",
        progress=progress,
    ):
        for part, block in blocks.items():
            found[part].append(block)
    joint = {part: joined(blocks) for part, blocks in found.items() if blocks}
    gram = torch.stack([block.inner(block).double() for block in joint.values()]).sum(dim=0)
    return GaussNewton(tuple(reader.parts), joint, gram, rows.share)


def fits(task: Task, model: nn.Module, pool: Pool, *, rows: int, device: torch.device) -> bool:
    """Whether so many rows can be kept: what cannot stay outer products must not be too large.

    It is small then, so that reading it example by example, where it must be, is quick enough.
    """
    if task.likelihood == "tokens" or task.draws > 1:
        return False  # a row for each token, or value of a draw: too many to choose from
    reader = Reader(model, steady_function(task), pool, device=device)
    batch = collate(pool, np.zeros(1, dtype=np.int64), device=device)
    _, blocks = reader.blocks(steady_function(task), batch)
    written = sum(
        shape.numel()
        for part, block in blocks.items()
        if not isinstance(block, Outer)
        for shape in part.weights.values()
    )
    return rows * written <= _KEPT
