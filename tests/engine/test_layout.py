"""Convolutions of the engine's copy run with their channels last, where the model allows it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe
from auditkit.engine.layout import channels_last
from auditkit.engine.restore import private_copy

CPU = torch.device("cpu")
LAST = torch.channels_last


class Viewing(nn.Module):
    """A network that takes a `view`, which needs the usual layout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 36, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores."""
        seen = torch.relu(self.first(images))
        scores: Tensor = self.last(seen.view(len(seen), -1))
        return scores


class Backward(torch.autograd.Function):
    """Nothing forward, and a `view` of the gradient backward."""

    @staticmethod
    def forward(_: object, values: Tensor) -> Tensor:
        """The values."""
        return values.clone()

    @staticmethod
    def backward(_: object, slopes: Tensor) -> Tensor:
        """The gradient."""
        return slopes.view(len(slopes), -1).view(slopes.shape)


class ViewingBackward(nn.Module):
    """A network whose backward pass takes the `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 36, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores."""
        seen = Backward.apply(torch.relu(self.first(images)))  # type: ignore[no-untyped-call]
        scores: Tensor = self.last(torch.relu(self.second(seen)).flatten(1))
        return scores


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 3),
    )  # fmt: skip


def images(count: int = 12) -> Pool:
    rng = np.random.default_rng(0)
    return Pool.from_arrays(
        rng.normal(size=(count, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, count)
    )


def laid(model: nn.Module) -> nn.Module:
    task = ClassificationTask(model)
    return channels_last(private_copy(model, CPU), task, images(), CPU)


def is_last(model: nn.Module) -> bool:
    weight = next(part.weight for part in model.modules() if isinstance(part, nn.Conv2d))
    with torch.no_grad():
        seen = functional.conv2d(torch.ones(2, 1, 6, 6), weight, padding=1)
    return seen.is_contiguous(memory_format=LAST)


def test_convolutions_are_laid_out_channels_last_and_stay_what_they_were() -> None:
    torch.manual_seed(0)
    model = convolutional()
    own = laid(model)
    assert is_last(own)
    assert not is_last(model)
    for (name, one), (other, two) in zip(
        model.state_dict().items(), own.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", [Viewing, ViewingBackward])
def test_a_model_that_takes_a_view_keeps_its_layout(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind()
    assert not is_last(laid(model))
    task, pool = ClassificationTask(model), images()
    queries = images(2)
    scores = ForwardINF(task, train=pool, preconditioner="none").influence(queries)
    assert np.isfinite(scores.values).all()


def test_a_weight_of_five_axes_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = convolutional()
    model.register_parameter("beside", nn.Parameter(torch.zeros(2, 2, 2, 2, 2)))
    own = laid(model)
    assert is_last(own)
    assert own.beside.is_contiguous()


def test_random_states_stay_where_examples_are_drawn() -> None:
    class Drawing:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, position: int) -> tuple[Tensor, int]:
            return torch.randn(1, 6, 6), position % 3

    task = ClassificationTask(convolutional())
    state = torch.get_rng_state()
    ForwardINF(task, train=Pool(Drawing(), ids=list("abcd")))
    assert torch.equal(torch.get_rng_state(), state)


def test_moved_and_replayed_weights_are_laid_out_as_the_models_own() -> None:
    torch.manual_seed(0)
    seen: list[bool] = []

    class Watching(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            """Class scores; notes how the first layer's are laid out."""
            found: Tensor = self[0](inputs)
            if len(inputs) > 1:  # of one image alone both layouts may be the same
                seen.append(found.is_contiguous(memory_format=LAST))
            for layer in list(self)[1:]:
                found = layer(found)
            return found

    task, pool = ClassificationTask(Watching(*convolutional())), images()
    engine = ForwardINF(
        task, train=pool, preconditioner="none", recipe=Recipe(learning_rate=1e-2, batch_size=4)
    )
    engine.influence(images(2))
    engine.holdout(folds=2, epochs=1)
    assert seen
    assert all(seen)


def test_scores_are_the_same_in_either_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    task, pool = ClassificationTask(convolutional()), images()
    queries = images(2)
    found = []
    for usual in (False, True):
        if usual:
            monkeypatch.setattr("auditkit.engine.models.channels_last", lambda model, *_: model)
        for kind in ("none", "kfac", "ggn"):
            for response in ("finite", "tangent", "products"):
                engine = ForwardINF(
                    task, train=pool, preconditioner=kind, response=response,
                    train_measure="margin",
                )  # fmt: skip
                found.append(engine.influence(queries).values)
    half = len(found) // 2
    for one, two in zip(found[:half], found[half:], strict=True):
        assert np.abs(one - two).max() < 2e-3 * np.abs(two).max()
