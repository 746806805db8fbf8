"""Gradients per example, against each example run alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Task
from auditkit.batches import collate, every
from auditkit.engine.blocks import Block, Outer, Written, joined
from auditkit.engine.layers import Dense, Lookup, Scale
from auditkit.engine.per_example import Reader
from tests.engine.test_models import LABELS, MODELS, noise

CPU = torch.device("cpu")


def alone(task: Task, model: nn.Module, pool: Pool) -> dict[str, Tensor]:
    """The gradient of each example's loss, one at a time, [n, *shape] by name."""
    rows = []
    for place in range(len(pool)):
        model.zero_grad(set_to_none=True)
        task.loss(model, collate(pool, every(pool)[place : place + 1], device=CPU)).sum().backward()
        rows.append(
            {
                name: torch.zeros_like(w) if w.grad is None else w.grad.to_dense().clone()
                for name, w in model.named_parameters()
                if w.requires_grad
            }
        )
    model.zero_grad(set_to_none=True)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def read(task: Task, model: nn.Module, pool: Pool) -> tuple[Reader, dict[str, Tensor]]:
    reader = Reader(model, task.loss, pool, device=CPU)
    values, blocks = reader.blocks(task.loss, collate(pool, every(pool), device=CPU))
    assert torch.allclose(values, task.loss(model, collate(pool, every(pool), device=CPU)))
    found = {
        name: torch.zeros(len(pool), *weight.shape)
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    for part, block in blocks.items():
        found |= part.unpack(block.written())
    return reader, found


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.two(self.one(inputs).relu_())


class Twice(nn.Module):
    """A layer used twice, once by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(input=self.layer(inputs).tanh()))


class SequenceFirst(nn.Module):
    """A layer whose first axis is not the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(2, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs.transpose(0, 1)).tanh().mean(dim=0))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.used(inputs) * self.scale


MORE: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "in place": (InPlace, noise(4)),
    "twice": (Twice, noise(4)),
    "sequence first": (SequenceFirst, noise(4, 2)),
    "unused": (Unused, noise(4)),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)),
        noise(4),
    ),
    "rms norm": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.RMSNorm(6, eps=1e-6), nn.Linear(6, 3)),
        noise(4),
    ),
    "batch norm of rows": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)),
        noise(4),
    ),
}


@pytest.mark.parametrize("name", [*MODELS, *MORE])
def test_every_model_is_read_as_its_examples_are_alone(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = {**MODELS, **MORE}[name]
    model = make().eval()
    for buffer in model.buffers():  # statistics that are not those of nothing
        if buffer.is_floating_point():
            buffer.add_(0.3)
    task, pool = ClassificationTask(model), Pool.from_arrays(inputs[:9], LABELS[:9])
    reader, found = read(task, model, pool)
    expected = alone(task, model, pool)
    assert found.keys() == expected.keys()
    for weight, part in expected.items():
        assert torch.allclose(found[weight], part, atol=1e-5, rtol=1e-3), weight
    assert all(not layer.module._forward_hooks for layer in reader.layers)


def test_layers_are_read_by_kind_and_the_rest_otherwise() -> None:
    make, inputs = MODELS["group norm"]
    model = make().eval()
    pool = Pool.from_arrays(inputs, LABELS)
    reader = Reader(model, ClassificationTask(model).loss, pool, device=CPU)
    assert [type(layer) for layer in reader.layers] == [Dense, Scale, Dense]
    assert reader.rest is None
    make, inputs = MODELS["tied"]
    model = make().eval()
    reader = Reader(
        model, ClassificationTask(model).loss, Pool.from_arrays(inputs, LABELS), device=CPU
    )
    assert [layer.name for layer in reader.layers] == ["mix"]
    assert set(reader.rest.weights) == {"embedding.weight"}


def test_a_layer_that_disagrees_is_not_read_off() -> None:
    torch.manual_seed(0)
    model = SequenceFirst()
    pool = Pool.from_arrays(noise(2, 2)[:2], LABELS[:2])  # as many places as examples
    reader = Reader(model, ClassificationTask(model).loss, pool, device=CPU)
    assert [layer.name for layer in reader.layers] == ["head"]


class Sorted(nn.Module):
    """Runs its examples in the order of their first number, as packed sequences are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        order = inputs[:, 0].argsort()
        return self.head(self.layer(inputs[order]).tanh())[order.argsort()]


class Experts(nn.Module):
    """Each example goes through one of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        here = inputs[:, 0] < 0
        found = inputs.new_zeros(len(inputs), 3).index_put((here,), self.one(inputs[here]))
        return found.index_put((~here,), self.other(inputs[~here]))


@pytest.mark.parametrize("make", [Sorted, Experts])
def test_examples_that_a_model_sorts_or_sends_apart_keep_their_own_gradients(
    make: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    model, inputs = make(), noise(4)[:9].clone()
    inputs[:, 0] = torch.tensor([-9.0, 5, -3, -2, 1, -6, -5, 3, 9])
    if make is Experts:  # those that the ways are compared on go to one of them
        inputs[[0, 2, 5, 8], 0] = -9
    task, pool = ClassificationTask(model), Pool.from_arrays(inputs, LABELS[:9])
    _, found = read(task, model, pool)
    for weight, part in alone(task, model, pool).items():
        assert torch.allclose(found[weight], part, atol=1e-6), weight


@pytest.mark.parametrize("kind", ["none", "kfac", "ekfac", "diagonal"])
@pytest.mark.parametrize("make", [Sorted, Experts])
def test_models_that_sort_or_send_apart_are_scored_by_products(
    make: Callable[[], nn.Module], kind: str
) -> None:
    torch.manual_seed(0)
    model, inputs = make(), noise(4).clone()
    inputs[0, 0], inputs[16, 0], inputs[31, 0], inputs[-1, 0] = -9, -4, -3, -2
    pool = Pool.from_arrays(inputs, LABELS)
    found = [
        ForwardINF(ClassificationTask(model), train=pool, preconditioner=kind, response=response)
        .influence(pool.subset([3, 4, 5]))
        .values
        for response in ("products", "tangent")
    ]
    assert np.abs(found[0] - found[1]).max() < 1e-3 * np.abs(found[1]).max()


def test_texts_beside_the_tensors_go_with_their_examples() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor, name: list[str]) -> Tensor:
            lengths = torch.tensor([float(len(own)) for own in name])
            return self.layer(x * self.scale) * lengths[:, None]

    class Rows:
        def __len__(self) -> int:
            return 7

        def __getitem__(self, place: int) -> dict[str, object]:
            return {"x": noise(4)[place], "label": place % 3, "name": "n" * (place + 1)}

    model, pool = Named(), Pool(Rows())
    task = ClassificationTask(model)
    _, found = read(task, model, pool)
    for weight, part in alone(task, model, pool).items():
        assert torch.allclose(found[weight], part, atol=1e-5), weight


def test_an_embedding_is_looked_up() -> None:
    layer = Lookup("", nn.Embedding(5, 2, padding_idx=0))
    tokens = torch.tensor([[1, 1, 0], [4, 2, 1]])
    slopes = torch.arange(12.0).view(2, 3, 2)
    found = layer.block(tokens, slopes).written().view(2, 5, 2)
    assert torch.equal(found[0, 1], slopes[0, 0] + slopes[0, 1])
    assert torch.equal(found[1, 4], slopes[1, 0])
    assert not found[:, 0].any()


def test_frozen_parameters_have_no_gradients() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    model[0].requires_grad_(requires_grad=False)
    model[1].weight.requires_grad_(requires_grad=False)
    model[2].bias.requires_grad_(requires_grad=False)
    task, pool = ClassificationTask(model), Pool.from_arrays(noise(4)[:5], LABELS[:5])
    _, found = read(task, model, pool)
    expected = alone(task, model, pool)
    assert found.keys() == expected.keys() == {"1.bias", "2.weight"}
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in found)


def outer(count: int) -> Outer:
    generator = torch.Generator().manual_seed(count)
    return Outer(
        torch.randn(count, 3, generator=generator), torch.randn(count, 4, generator=generator)
    )


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("asked", [1, 5])
def test_outer_products_are_never_written_and_give_what_they_would(count: int, asked: int) -> None:
    block = outer(count)
    written = Written(block.written())
    directions, weights = torch.randn(asked, 12), torch.randn(asked, count)
    assert torch.allclose(block.products(directions), written.products(directions), atol=1e-5)
    assert torch.allclose(block.combined(weights), written.combined(weights), atol=1e-5)
    assert torch.allclose(block.squares(), written.squares(), atol=1e-5)
    others: list[Block] = [outer(asked), Written(outer(asked).written())]
    for other in others:
        expected = block.written() @ other.written().T
        assert torch.allclose(block.inner(other), expected, atol=1e-5)
        assert torch.allclose(written.inner(other), expected, atol=1e-5)
    both = joined([block, outer(2)])
    assert isinstance(both, Outer)
    assert torch.equal(both.written(), joined([written, outer(2)]).written())


def test_what_cannot_be_read_off_is_differentiated_all_at_once() -> None:
    model = nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 4, 1, groups=2), nn.Flatten())
    pool = Pool.from_arrays(noise(4)[:9], LABELS[:9])
    reader, _ = read(ClassificationTask(model), model, pool)
    assert reader.rest is not None
    assert not reader.one_by_one
