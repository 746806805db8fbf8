from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool, RegressionTask
from auditkit.engine.curvature import Curvature, estimate
from auditkit.engine.kfac import Factors, Moments, Sums
from auditkit.engine.layers import Dense
from auditkit.engine.uses import Use
from tests.engine.test_ggn import by_backward_passes, flat_of
from tests.engine.test_models import LABELS

CPU = torch.device("cpu")


def matrix(values: Tensor, vectors: Tensor) -> Tensor:
    return vectors @ values.diag() @ vectors.T


def inputs_of(factors: Factors) -> Tensor:
    return matrix(factors.input_values, factors.input_vectors)


def outputs_of(factors: Factors) -> Tensor:
    return matrix(factors.output_values, factors.output_vectors)


def factors_of(model: nn.Module, pool: Pool, name: str = "") -> Factors:
    return estimate("kfac", ClassificationTask(model), model, pool, device=CPU).factors[name]


@pytest.mark.parametrize("bias", [True, False])
def test_a_softmax_layer_has_the_second_moment_of_its_inputs(bias: bool) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 3, bias=bias).double(), torch.randn(300, 4).double()
    found = factors_of(model, Pool.from_arrays(inputs, torch.arange(300) % 3))
    rows = torch.cat([inputs, torch.ones(300, 1).double()], dim=1) if bias else inputs
    assert torch.allclose(inputs_of(found), rows.T @ rows / 300)
    probabilities = model(inputs).detach().softmax(dim=1)
    expected = probabilities.mean(dim=0).diag() - probabilities.T @ probabilities / 300
    assert torch.allclose(outputs_of(found), expected)
    assert outputs_of(found).sum(dim=0).abs().max() < 1e-12  # as class scores, up to a constant


def test_squared_error_of_one_output_is_exact() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 1).double(), torch.randn(50, 4).double()
    pool = Pool.from_arrays(inputs, torch.zeros(50).double())
    rows = torch.cat([inputs, torch.ones(50, 1).double()], dim=1)
    for kind in ("kfac", "ekfac"):
        found = estimate(kind, RegressionTask(model), model, pool, device=CPU).factors[""]
        whole = found.input_vectors @ found.moments[0].diag() @ found.input_vectors.T
        assert torch.allclose(whole, 2 * rows.T @ rows / 50)


def dense_solve(curvature: Curvature, packed: Tensor, *, ridge: float, name: str) -> Tensor:
    """The same system with the Kronecker product written out."""
    factors = curvature.factors[name]
    basis = torch.kron(factors.output_vectors, factors.input_vectors)
    whole = basis @ factors.moments.ravel().diag() @ basis.T
    whole = whole + ridge * torch.eye(len(whole), dtype=whole.dtype)
    return torch.linalg.solve(whole, packed.T).T


@pytest.mark.parametrize("kind", ["kfac", "ekfac"])
def test_the_solve_is_the_dense_one(kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 3, bias=False)).double()
    pool = Pool.from_arrays(torch.randn(20, 2, 4, 4).double(), torch.arange(20) % 3)
    curvature = estimate(kind, ClassificationTask(model), model, pool, device=CPU)
    slopes = {
        name: torch.randn(5, *weight.shape, dtype=weight.dtype)
        for name, weight in model.named_parameters()
    }
    solved = curvature.solver(0.01)(slopes)
    assert solved.keys() == slopes.keys()
    for name, layer in curvature.layers.items():
        expected = dense_solve(curvature, layer.pack(slopes), ridge=0.01, name=name)
        assert torch.allclose(layer.pack(solved), expected)


def test_kfac_is_the_kronecker_product_of_its_factors() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    found = factors_of(model, Pool.from_arrays(torch.randn(40, 4).double(), torch.arange(40) % 3))
    basis = torch.kron(found.output_vectors, found.input_vectors)
    whole = basis @ found.moments.ravel().diag() @ basis.T
    assert torch.allclose(whole, torch.kron(outputs_of(found), inputs_of(found)))


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
    module = CONVOLUTIONS[name].double()
    images = torch.randn(4, 2, 6, 5, generator=torch.Generator().manual_seed(0)).double()
    output = module(images)
    slope = 2 * output.detach()
    sums, layer = Sums(), Dense("", module)
    sums.add(Sums.of(layer, [Use(images, slope)]))
    found = sums.factors(examples=4)
    assert found is not None
    patches = []
    for image in range(4):
        for place in range(output[0, 0].numel()):
            one = module(images)[image, 0].ravel()[place]
            parts = torch.autograd.grad(one, list(module.parameters()))
            patches.append(torch.cat([part[0].ravel() for part in parts]))
    rows, slopes = torch.stack(patches), slope.movedim(1, -1).reshape(-1, 3)
    assert torch.allclose(inputs_of(found), rows.T @ rows / 4)
    assert torch.allclose(outputs_of(found), slopes.T @ slopes / len(slopes))


def test_positions_of_a_sequence_are_summed_on_the_input_side() -> None:
    sums, inputs = Sums(), torch.randn(5, 7, 2)
    sums.add(Sums.of(Dense("", nn.Linear(2, 3)), [Use(inputs, torch.ones(5, 7, 3))]))
    found = sums.factors(examples=5)
    assert found is not None
    rows = torch.cat([inputs.reshape(35, 2), torch.ones(35, 1)], dim=1)
    assert torch.allclose(inputs_of(found), rows.T @ rows / 5, atol=1e-5)
    assert torch.allclose(outputs_of(found), torch.ones(3, 3), atol=1e-5)


def test_mended_moments_are_those_of_the_gradients_in_the_eigenbasis() -> None:
    torch.manual_seed(0)
    layer = Dense("l", nn.Linear(2, 3))
    uses = [
        Use(torch.randn(5, 4, 2), torch.randn(5, 4, 3)),
        Use(torch.randn(5, 4, 2), torch.randn(5, 4, 3)),
    ]
    sums = Sums()
    sums.add(Sums.of(layer, uses))
    factors = sums.factors(examples=5)
    assert factors is not None
    moments = Moments({"l": factors})
    moments.add("l", moments.of(layer, uses))
    found = moments.mended(examples=5)["l"].moments
    gradients = sum(layer.block(use.value, use.slope).written() for use in uses)
    basis = torch.kron(factors.output_vectors, factors.input_vectors)
    assert torch.allclose(found.ravel(), (gradients @ basis).square().mean(dim=0), atol=1e-5)


def test_a_layer_that_was_never_run_has_no_factors() -> None:
    assert Sums().factors(examples=3) is None


def test_a_layer_with_too_long_a_side_is_left_to_the_diagonal() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 5_000))
    pool = Pool.from_arrays(torch.randn(6, 2), torch.arange(6))
    found = estimate("kfac", ClassificationTask(model), model, pool, device=CPU)
    assert set(found.factors) == {"0"}
    assert set(found.diagonal) == {"1.weight", "1.bias"}


def test_ekfac_has_the_curvature_along_the_directions_of_its_eigenbases() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    task, pool = ClassificationTask(model), Pool.from_arrays(torch.randn(20, 3), LABELS[:20])
    exact = by_backward_passes(task, model, pool)
    plain = estimate("kfac", task, model, pool, device=CPU)
    found = estimate("ekfac", task, model, pool, device=CPU)
    for name, factors in found.factors.items():
        expected = torch.zeros_like(factors.moments)
        for row, column in np.ndindex(*expected.shape):
            along = torch.outer(factors.output_vectors[:, row], factors.input_vectors[:, column])
            parts = found.layers[name].unpack(along.flatten()[None])
            direction = flat_of({n: part[0] for n, part in parts.items()}, model)
            expected[row, column] = direction @ exact @ direction
        assert torch.allclose(factors.moments, expected, atol=1e-6, rtol=1e-3)
        assert not torch.allclose(plain.factors[name].moments, expected, rtol=0.01)
