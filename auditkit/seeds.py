"""Random numbers that are repeatable here and unnoticed elsewhere."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType

import numpy as np
import torch


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each purpose, so that one sample never equals another by chance.

    Two `numpy.random.default_rng(seed)` give the same permutation, and what one part of a program
    plants another part would then hold out.
    """
    return np.random.default_rng([seed % 2**64, zlib.crc32(purpose.encode())])


@contextmanager
def seeded(seed: int, purpose: str = "") -> Iterator[None]:
    """Seed Python's, numpy's and torch's global generators within; restore them after.

    A purpose makes other numbers of the same seed: weights drawn for a replay must not be those
    that the audited model itself began from because somebody chose the same seed. The caller's
    random states come back as they were, also after an exception.
    """
    if purpose:
        seed = int(stream(seed, purpose).integers(2**63))
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    with unmoved_generators():
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            seed_torch(seed % 2**64)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def seed_torch(number: int) -> None:
    """Seed those of torch's global generators that are in use.

    Where no accelerator has been started, `torch.manual_seed` would put this seed in place of the
    one that the caller's own call has left waiting for it; and it writes down the stack each time.
    """
    torch.default_generator.manual_seed(number)
    for backend in _started():
        backend.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


@contextmanager
def unmoved_generators() -> Iterator[None]:
    """Afterwards, torch's global generators stand where they stood before.

    Those of accelerators only where one is in use: asking about them would start it. One that is
    started within has no state from before: its generators begin with the seed that the caller has
    left waiting for it, if any, and what is drawn from them within stays drawn.
    """
    back = _ways_back()
    try:
        yield
    finally:
        for put_back in back:
            put_back()


def _ways_back() -> list[Callable[[], None]]:
    """For each of torch's generators in use, what puts it back to where it stands now."""
    back: list[Callable[[], None]] = [partial(torch.set_rng_state, torch.get_rng_state())]
    back += [partial(each.set_rng_state_all, each.get_rng_state_all()) for each in _started()]
    if torch.backends.mps.is_available():  # its generator lies in the CPU's memory
        back.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return back


def _started() -> list[ModuleType]:
    """Those of torch's modules of accelerators, of which there may be several, that are in use."""
    return [backend for backend in (torch.cuda, torch.xpu) if backend.is_initialized()]
