from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool, RegressionTask
from auditkit.engine.curvature import estimate
from auditkit.engine.kfac import Factors, Recorder

CPU = torch.device("cpu")


def matrix(values: Tensor, vectors: Tensor) -> Tensor:
    return vectors @ values.diag() @ vectors.T


def inputs_of(factors: Factors) -> Tensor:
    return matrix(factors.input_values, factors.input_vectors)


def outputs_of(factors: Factors) -> Tensor:
    return matrix(factors.output_values, factors.output_vectors)


def dense_solve(factors: Factors, slopes: dict[str, Tensor], *, ridge: float) -> dict[str, Tensor]:
    """The same system with the Kronecker product written out."""
    weight = slopes[factors.weight]
    block = weight.flatten(start_dim=1)
    if factors.bias is not None:
        block = torch.cat([block, slopes[factors.bias][:, None]], dim=1)
    whole = torch.kron(outputs_of(factors), inputs_of(factors))
    whole = whole + ridge * torch.eye(len(whole), dtype=whole.dtype)
    solved = torch.linalg.solve(whole, block.ravel()).view_as(block)
    if factors.bias is None:
        return {factors.weight: solved.view_as(weight)}
    return {factors.weight: solved[:, :-1].reshape_as(weight), factors.bias: solved[:, -1]}


@pytest.mark.parametrize("bias", [True, False])
def test_a_softmax_layer_has_the_second_moment_of_its_inputs(bias: bool) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 3, bias=bias).double(), torch.randn(300, 4).double()
    pool = Pool.from_arrays(inputs, torch.arange(300) % 3)
    found = estimate(ClassificationTask(model), model, pool, factored=True, device=CPU).factors[""]
    rows = torch.cat([inputs, torch.ones(300, 1).double()], dim=1) if bias else inputs
    assert torch.allclose(inputs_of(found), rows.T @ rows / 300)
    probabilities = model(inputs).detach().softmax(dim=1)
    expected = probabilities.mean(dim=0).diag() - probabilities.T @ probabilities / 300
    assert torch.allclose(outputs_of(found), expected, atol=0.03)  # sampled
    assert outputs_of(found).sum(dim=0).abs().max() < 1e-12  # as class scores, up to a constant


def test_squared_error_of_one_output_is_exact() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 1).double(), torch.randn(50, 4).double()
    pool = Pool.from_arrays(inputs, torch.zeros(50).double())
    found = estimate(RegressionTask(model), model, pool, factored=True, device=CPU).factors[""]
    rows = torch.cat([inputs, torch.ones(50, 1).double()], dim=1)
    assert torch.allclose(torch.kron(outputs_of(found), inputs_of(found)), 2 * rows.T @ rows / 50)


@pytest.mark.parametrize("layer", [nn.Linear(12, 3), nn.Linear(12, 3, bias=False)])
def test_the_solve_is_the_dense_one(layer: nn.Linear) -> None:
    model = layer.double()
    pool = Pool.from_arrays(torch.randn(40, 12).double(), torch.arange(40) % 3)
    found = estimate(ClassificationTask(model), model, pool, factored=True, device=CPU).factors[""]
    slopes = {name: torch.randn_like(weight) for name, weight in model.named_parameters()}
    solved, expected = found.solve(slopes, ridge=0.01), dense_solve(found, slopes, ridge=0.01)
    assert solved.keys() == expected.keys()
    assert all(torch.allclose(solved[name], expected[name]) for name in expected)


CONVOLUTIONS = {
    "plain": nn.Conv2d(2, 3, 3),
    "no bias": nn.Conv2d(2, 3, 3, bias=False),
    "stride": nn.Conv2d(2, 3, 3, stride=2),
    "padding": nn.Conv2d(2, 3, 3, padding=(1, 2)),
    "dilation": nn.Conv2d(2, 3, 2, dilation=2, padding=1),
    "reflect": nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
    "circular": nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    "replicate": nn.Conv2d(2, 3, (3, 1), padding=(1, 0), padding_mode="replicate"),
    "same": nn.Conv2d(2, 3, 2, padding="same"),
    "oblong": nn.Conv2d(2, 3, (1, 3), stride=(2, 1), padding=(0, 1)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_has_the_moments_of_its_patches(name: str) -> None:
    """Each patch is read off the layer itself: the derivative of one output by the weights."""
    layer = CONVOLUTIONS[name].double()
    images = torch.randn(4, 2, 6, 5, generator=torch.Generator().manual_seed(0)).double()
    slopes_at: list[Tensor] = []
    with Recorder(layer) as recorder:
        output = layer(images)
        output.register_hook(slopes_at.append)
        output.square().sum().backward()
        recorder.collect()
        found = recorder.factors(examples=4)[""]
    layer.zero_grad(set_to_none=True)
    patches = []
    for image in range(4):
        for place in range(output[0, 0].numel()):
            one = layer(images)[image, 0].ravel()[place]
            parts = torch.autograd.grad(one, list(layer.parameters()))
            patches.append(torch.cat([part[0].ravel() for part in parts]))
    rows = torch.stack(patches)
    slopes = slopes_at[0].movedim(1, -1).reshape(-1, 3)
    assert torch.allclose(inputs_of(found), rows.T @ rows / 4)
    assert torch.allclose(outputs_of(found), slopes.T @ slopes / len(slopes))


def test_the_solve_of_a_convolution_is_the_dense_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 3)).double()
    pool = Pool.from_arrays(torch.randn(20, 2, 4, 4).double(), torch.arange(20) % 3)
    curvature = estimate(ClassificationTask(model), model, pool, factored=True, device=CPU)
    slopes = {name: torch.randn_like(weight) for name, weight in model.named_parameters()}
    solved = curvature.factors["0"].solve(slopes, ridge=0.01)
    expected = dense_solve(curvature.factors["0"], slopes, ridge=0.01)
    assert all(torch.allclose(solved[name], expected[name]) for name in expected)


def test_positions_of_a_sequence_are_summed_on_the_input_side() -> None:
    layer, inputs = nn.Linear(2, 3), torch.randn(5, 7, 2)
    with Recorder(layer) as recorder:
        layer(inputs).sum().backward()
        recorder.collect()
        found = recorder.factors(examples=5)[""]
    rows = torch.cat([inputs.reshape(35, 2), torch.ones(35, 1)], dim=1)
    assert torch.allclose(inputs_of(found), rows.T @ rows / 5, atol=1e-5)
    assert torch.allclose(outputs_of(found), torch.ones(3, 3), atol=1e-5)


def test_a_layer_called_by_keyword_and_twice_is_seen_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(input=self.layer(inputs))

    model, inputs = Twice(), torch.randn(5, 3)
    with Recorder(model) as recorder:
        model(inputs).sum().backward()
        recorder.collect()
        found = recorder.factors(examples=5)["layer"]
    rows = torch.cat([torch.cat([inputs, model.layer(inputs)]), torch.ones(10, 1)], dim=1)
    assert torch.allclose(inputs_of(found), (rows.T @ rows / 5).detach(), atol=1e-5)


def test_what_cannot_be_factored_is_left_to_the_diagonal() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grouped = nn.Conv2d(2, 2, 1, groups=2)
            self.embedding = nn.Embedding(4, 3)
            self.tied = nn.Linear(3, 4)
            self.tied.weight = self.embedding.weight
            self.frozen = nn.Linear(3, 3).requires_grad_(requires_grad=False)
            self.unused = nn.Linear(3, 3)
            self.plain = nn.Linear(3, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.tied(self.plain(self.frozen(self.embedding(tokens))))

    model = Odd()
    with Recorder(model) as recorder:
        model(torch.tensor([0, 1, 2])).sum().backward()
        recorder.collect()
        assert set(recorder.factors(examples=3)) == {"plain"}


def test_no_hook_stays_behind_after_an_exception() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), Recorder(layer):
        raise ZeroDivisionError
    assert not layer._forward_hooks
