"""Pools to batches of tensors, on a device, in any order; and orders to batches of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import default_collate

from auditkit.errors import PoolError
from auditkit.pool import Pool, Positions, RowDataset

if TYPE_CHECKING:
    from auditkit.subject import Batch


def batches(
    pool: Pool, positions: Positions, *, batch_size: int, device: torch.device
) -> Iterator[tuple[Positions, Batch]]:
    """The examples at `positions`, in that order, as (their positions, collated batch).

    A data set with `rows` is asked for whole batches; of any other the items are collated as
    `torch.utils.data.DataLoader` does.
    """
    for start in range(0, len(positions), batch_size):
        chosen = positions[start : start + batch_size]
        yield chosen, collate(pool, chosen, device=device)


def collate(pool: Pool, positions: Positions, *, device: torch.device) -> Batch:
    """The examples at `positions` as one batch on the device.

    Raises:
        PoolError: their items cannot be stacked.
    """
    if isinstance(pool.dataset, RowDataset):
        rows = tuple(torch.as_tensor(field) for field in pool.dataset.rows(positions))
        return to_device(rows if len(rows) > 1 else rows[0], device)
    items = [pool.dataset[int(position)] for position in positions]
    try:
        collated = cast("Batch", default_collate(items))
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise PoolError(
            f"Examples {pool.ids[int(positions[0])]!r} to {pool.ids[int(positions[-1])]!r} do not "
            f"make a batch ({reason}): every item must be tensors or numbers of one shape; pad "
            "what differs in length."
        ) from error
    return to_device(collated, device)


def cuts_of(count: int, batch_size: int) -> list[slice]:
    """Where an order of examples is cut into batches.

    An example left over alone joins the batch before it: BatchNorm cannot train on one.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1 < batch_size:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], count], strict=True)]


def remaining(parts: list[Positions], kept: npt.NDArray[np.bool_]) -> list[tuple[int, Positions]]:
    """The batches without what is not kept, bool [place]; one left alone joins a neighbour.

    Each with its number among all batches, which its learning rate goes by.
    """
    joins = len(parts[0]) > 1
    found: list[tuple[int, Positions]] = []
    for number, part in enumerate(parts):
        rest = part[kept[part]]
        if kept.all():
            found.append((number, rest))
        elif joins and found and 1 in (len(rest), len(found[-1][1])):
            first, before = found[-1]
            found[-1] = first, np.concatenate([before, rest])
        elif len(rest) > 0:
            found.append((number, rest))
    return found


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with every tensor on the device; what is no tensor stays as it is."""
    return mapped(batch, lambda part: part.to(device))


def mapped(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with every tensor changed; its form and what is no tensor stay as they are."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(value, change) for key, value in batch.items()}
    if isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        parts = (mapped(value, change) for value in batch)
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    return batch


def sliced(batch: Batch, where: slice) -> Batch:
    """Some of the batch's examples, also of what is a text or an object for each of them."""
    if isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        if not any(_is_nested(part) for part in batch):
            return batch[where]
        parts = (sliced(part, where) for part in batch)
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    if isinstance(batch, Mapping):
        return {key: sliced(value, where) for key, value in batch.items()}
    return batch[where] if isinstance(batch, Tensor) else batch


def every(pool: Pool) -> Positions:
    """All positions of the pool, in order."""
    return np.arange(len(pool), dtype=np.int64)


def _is_nested(part: object) -> bool:
    """Whether it is a batch itself, and not what one example has."""
    return isinstance(part, Tensor | Mapping | Sequence) and not isinstance(part, str | bytes)
