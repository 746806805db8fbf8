"""A subject small enough for a test, and real: handwritten digits and a model trained on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auditkit.pool import Pool

if TYPE_CHECKING:
    from auditkit.subject import Likelihood, Subject


def tiny_subject(
    *,
    examples: int = 240,
    queries: int = 0,
    likelihood: Likelihood = "categorical",
    diffusion: bool = False,
    epochs: int = 20,
    seed: int = 0,
) -> Subject:
    """A subject of handwritten digits, 5 % of them under a wrong label, with a trained model.

    Args:
        examples: in the train pool.
        queries: how many further digits are its queries; none by default.
        likelihood: of the task: class scores, or the digit as a real number.
        diffusion: whether the model is one that takes noise out of the digits' images.
        epochs: of training.
        seed: for labels, weights and training.
    """
    from auditkit.demo import digits  # noqa: PLC0415 - brings torch

    whole = digits(examples=examples + queries, epochs=epochs, seed=seed).subject
    train = whole.train.subset(np.arange(examples))
    held = whole.train.subset(np.arange(examples, examples + queries)) if queries else None
    subject = replace(whole, train=train, queries=held, name="tiny digits", description=())
    if diffusion:
        return _diffusion(subject, epochs=epochs, seed=seed)
    return (
        subject if likelihood == "categorical" else _regression(subject, epochs=epochs, seed=seed)
    )


def _images(pool: Pool) -> list[tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], int]]:
    """Image and label of each example."""
    rows = [pool[position] for position in range(len(pool))]
    return [
        (np.asarray(row[0], dtype=np.float32), row[1]) for row in rows if isinstance(row, tuple)
    ]


def _diffusion(subject: Subject, *, epochs: int, seed: int) -> Subject:
    import torch  # noqa: PLC0415 - heavy, as the next ones
    from torch import Tensor, nn  # noqa: PLC0415

    from auditkit.seeds import seeded  # noqa: PLC0415
    from auditkit.tasks import DiffusionTask  # noqa: PLC0415
    from auditkit.training import fit  # noqa: PLC0415

    class Denoiser(nn.Module):
        """Two layers that are told the timestep in a channel of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave = nn.Conv2d(2, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)

        def forward(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
            told = (timesteps.to(noisy) / 100)[:, None, None, None].expand_as(noisy)
            predicted: Tensor = self.leave(self.enter(torch.cat([noisy, told], dim=1)).tanh())
            return predicted

    def images(pool: Pool) -> Pool:
        found = np.stack([image.reshape(1, 8, 8) for image, _ in _images(pool)])
        return Pool.from_arrays(found, ids=pool.ids)

    with seeded(seed):
        task = DiffusionTask(Denoiser(), torch.linspace(0.999, 0.01, 100), timesteps=4)
    train = images(subject.train)
    recipe = replace(subject.recipe, epochs=epochs)
    fit(task.model, task, train, recipe, seed=seed)
    held = None if subject.queries is None else images(subject.queries)
    return replace(subject, task=task, train=train, queries=held, recipe=recipe)


def _regression(subject: Subject, *, epochs: int, seed: int) -> Subject:
    from torch import nn  # noqa: PLC0415 - heavy, as the next ones

    from auditkit.seeds import seeded  # noqa: PLC0415
    from auditkit.tasks import RegressionTask  # noqa: PLC0415
    from auditkit.training import fit  # noqa: PLC0415

    def values(pool: Pool) -> Pool:
        pairs = _images(pool)
        images = np.stack([image.ravel() for image, _ in pairs])
        targets = np.array([[float(label)] for _, label in pairs], dtype=np.float32)
        return Pool.from_arrays(images, targets, ids=pool.ids)

    with seeded(seed):
        task = RegressionTask(nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 1)))
    train = values(subject.train)
    recipe = replace(subject.recipe, epochs=epochs)
    fit(task.model, task, train, recipe, seed=seed)
    held = None if subject.queries is None else values(subject.queries)
    return replace(subject, task=task, train=train, queries=held, recipe=recipe)
