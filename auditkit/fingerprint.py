"""What weights and data were audited, as SHA-256 sums: equal sums, equal subject.

Sums are of content alone, streamed example by example, and do not depend on devices, on how the
examples are stored, or on the order of a mapping's keys.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress


class Sum(Protocol):
    """The part of `hashlib`'s objects that is needed here."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """The sum so far, in hexadecimal."""


def of_weights(model: nn.Module) -> str:
    """The sum of a model's state: names, types, shapes and bytes of parameters and buffers."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        _feed(total, name)
        _feed(total, value)
    return total.hexdigest()


def of_pool(pool: Pool, *, progress: Progress = SILENT) -> str:
    """The sum of a pool's ids and examples, in order; metadata does not count.

    An object that is no array, tensor, image, text, number, mapping or sequence counts by its type.
    """
    total = hashlib.sha256()
    with progress.step("reading the data", len(pool)) as step:
        for position, name in enumerate(pool.ids):
            _feed(total, name)
            _feed(total, pool[position])
            step.advance()
    return total.hexdigest()


def of_example(example: object) -> str:
    """The sum of one example."""
    return _read(example)[0]


def same_examples(one: Pool, other: Pool) -> bool:
    """Whether two pools hold the same examples in the same order, under whatever ids.

    Examples are compared by the values of their arrays, tensors, images, texts and numbers, also in
    mappings and sequences. Of other objects the type alone is known: pools that hold any are the
    same only where they are one and the same pool, since otherwise it cannot be told.
    """
    if one is other:
        return True
    if len(one) != len(other):
        return False
    for position in range(len(one)):
        sum_, whole = _read(one[position])
        if not whole or sum_ != of_example(other[position]):
            return False
    return True


def described(value: object) -> str | int | float | None:
    """A value in words: functions by their names, those of `functools.partial` by arguments too."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, functools.partial):
        given = [
            *map(described, value.args),
            *(f"{k}={described(v)}" for k, v in value.keywords.items()),
        ]
        return f"{described(value.func)}({', '.join(map(str, given))})"
    if isinstance(value, Tensor | Mapping | Sequence):
        return of_example(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def first_unstable(pool: Pool, *, tries: int = 8) -> str | None:
    """The id of an example that differs when it is read twice, of a few spread over the pool."""
    places = np.unique(np.linspace(0, len(pool) - 1, min(tries, len(pool))).astype(np.int64))
    for place in places:
        if of_example(pool[int(place)]) != of_example(pool[int(place)]):
            return pool.ids[int(place)]
    return None


def _read(example: object) -> tuple[str, bool]:
    """The sum of an example, and whether it is of all its contents."""
    total = hashlib.sha256()
    whole = _feed(total, example)
    return total.hexdigest(), whole


def _feed(total: Sum, value: object) -> bool:
    """Add a value, with its kind and shape, so that no two structures give the same bytes.

    Returns:
        Whether all of it was added, and no object in it counts by its type alone.
    """
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous()
        _mark(total, "array", str(raw.dtype).removeprefix("torch."), *raw.shape)
        total.update(raw.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        _mark(total, "array", value.dtype, *value.shape)
        total.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, str | bytes):
        raw_text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        _mark(total, type(value).__name__, len(raw_text))
        total.update(raw_text)
    elif isinstance(value, Image.Image):
        _mark(total, "image", value.mode, *value.size)
        total.update(value.tobytes())
    elif isinstance(value, Mapping):
        _mark(total, "mapping", len(value))
        parts = [part for key in sorted(value, key=str) for part in (key, value[key])]
        return _feed_all(total, parts)
    elif isinstance(value, Sequence | np.ndarray):
        _mark(total, "sequence", len(value))
        return _feed_all(total, value)
    elif value is None or isinstance(value, bool | int | float | complex):
        _mark(total, type(value).__name__, repr(value))
    else:
        _mark(total, "object", f"{type(value).__module__}.{type(value).__qualname__}")
        return False
    return True


def _feed_all(total: Sum, values: Iterable[object]) -> bool:
    """Add every one of the values; whether all of each was added."""
    whole = [_feed(total, value) for value in values]
    return all(whole)


def _mark(total: Sum, *facts: object) -> None:
    total.update((" ".join(map(str, facts)) + "\n").encode())
