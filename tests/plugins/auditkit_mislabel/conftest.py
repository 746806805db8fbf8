"""A pool whose wrong labels are known, and what an ideal model would say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest


@dataclass(frozen=True)
class Noisy:
    """Labels that came through a known channel, and the true log posterior of the classes."""

    logs: npt.NDArray[np.float64]
    true: npt.NDArray[np.int64]
    given: npt.NDArray[np.int64]
    transition: npt.NDArray[np.float64]

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        return self.true != self.given


def make(
    transition: npt.NDArray[np.float64], *, count: int = 6_000, seed: int = 0, radius: float = 3.0
) -> Noisy:
    """Gaussian classes on a circle, seen through Bayes' rule, labelled through a channel."""
    random = np.random.default_rng(seed)
    classes = len(transition)
    angle = 2 * np.pi * np.arange(classes) / classes
    centres = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    true = random.integers(0, classes, count)
    points = centres[true] + random.normal(size=(count, 2))
    logs = -0.5 * ((points[:, None] - centres[None]) ** 2).sum(axis=2)
    logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    edges = transition.cumsum(axis=1)
    given = (random.random((count, 1)) > edges[true]).sum(axis=1)
    return Noisy(logs, true, given.astype(np.int64), transition)


@pytest.fixture
def uniform_noise() -> Noisy:
    """One label in ten is any other class."""
    return make(np.full((5, 5), 0.025) + 0.875 * np.eye(5))


@pytest.fixture
def look_alike_noise() -> Noisy:
    """One label in five of classes 0 and 1 is the other one; all others are right."""
    transition = np.eye(5)
    transition[:2, :2] = [[0.8, 0.2], [0.2, 0.8]]
    return make(transition)
