"""Nearest training images, and those that recur."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from auditkit_diffusion.neighbours import nearness
from auditkit_diffusion.recurring import recurring
from auditkit_diffusion.settings import DiffusionSettings
from torch import Tensor, nn

from auditkit import AuditContext, DiffusionTask, ForwardINF, Pool, Subject


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy: Tensor, times: Tensor) -> Tensor:
        found: Tensor = self.mix(noisy)
        return found


class Mapped:
    """Images as mappings, the image not first."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> dict[str, object]:
        return {"label": torch.tensor(position), "image": self.images[position]}


def test_the_nearest_in_pixels_and_features() -> None:
    images = torch.rand(6, 1, 40, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    train = Pool(Mapped(images))
    queries = Pool.from_arrays(images[[4, 1]] + 1e-3, ids=["a", "b"])
    task = DiffusionTask(Denoiser(), torch.linspace(0.99, 0.01, 50))
    context = AuditContext(
        subject=Subject(task=task, train=train, queries=queries),
        settings=DiffusionSettings(),
        scoring=ForwardINF(task, train=train),
    )
    pixels, features = nearness(context)
    assert [int(pixels.order(row)[0]) for row in (0, 1)] == [4, 1]
    assert pixels.ranks(0)[4] == 1
    assert sorted(pixels.ranks(0)) == [1, 2, 3, 4, 5, 6]
    full = [float((images[place] - images[4]).square().mean()) for place in range(6)]
    assert np.argmax(full) == np.argmax(pixels.ranks(0))
    assert (features.name, features.values.shape) == ("features", (2, 6))


def of_images(train: Tensor, asked: Tensor) -> AuditContext[DiffusionSettings]:
    task, pool = DiffusionTask(Denoiser(), torch.linspace(0.99, 0.01, 50)), Pool.from_arrays(train)
    return AuditContext(
        subject=Subject(task=task, train=pool, queries=Pool.from_arrays(asked)),
        settings=DiffusionSettings(),
        scoring=ForwardINF(task, train=pool),
    )


def test_images_on_two_scales_are_remarked_on() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for train, asked, said in (
        (2 * images - 1, images[:2], True),
        (images, 2 * images[:2] - 1, True),
        (2 * images - 1, 2 * images[:2] - 1, False),
        (images, images[:2], False),
    ):
        context = of_images(train, asked)
        nearness(context)
        assert any("scaled in different ways" in str(note) for note in context.notes) == said


def test_generated_images_of_another_size_are_brought_to_the_training_images() -> None:
    images = torch.rand(6, 1, 16, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    larger = images[[4]].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    pixels, _ = nearness(of_images(images, larger))
    assert int(pixels.order(0)[0]) == 4


def test_what_recurs_is_counted_and_ranked_for_the_group() -> None:
    train = Pool.from_arrays(
        torch.zeros(5, 1, 2, 2), metadata=pl.DataFrame({"kind": list("abcde")}), label="kind"
    )
    queries = Pool.from_arrays(torch.zeros(3, 1, 2, 2))
    first = [np.array([0, 1]), np.array([0, 2]), np.array([0, 1])]
    standing = np.arange(15.0).reshape(3, 5)
    table = recurring(train, queries, first, standing, np.array([5.0, 1.0, 2.0, 9.0, 0.0]))
    assert table["example_id"].to_list()[:3] == ["0", "1", "2"]
    assert table["among the first ten of"].to_list() == [3, 2, 1, 0, 0]
    assert table["rank for all at once"].to_list() == [2, 4, 3, 1, 5]
    assert table["mean standing"][0] == 5.0
    assert table["label"].to_list()[0] == "a"
