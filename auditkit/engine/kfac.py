"""Kronecker-factored curvature of Linear and Conv2d layers.

The Gauss-Newton block of a layer with weights [out, in] is approximated by A x G: A the second
moment of the layer's inputs, summed over the places where the weights are used (the positions of a
convolution or a sequence), G the second moment of the gradients at its outputs, averaged over
them (Martens and Grosse 2015; Grosse and Martens 2016, section 3). It is inverted in the eigenbasis
of both factors, where damping is exact: no splitting of the damping between the factors.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from auditkit.engine.passes import Weights, at_least_single


@dataclass(frozen=True)
class Factors:
    """The factors of one layer, as eigenvalues and eigenvectors.

    Attributes:
        weight: the name of the layer's weight, [out, in, ...].
        bias: the name of its bias; None if it has none. It is one more input, always 1.
        input_values, input_vectors: of A, [in (+ 1)] and [in (+ 1), in (+ 1)].
        output_values, output_vectors: of G, [out] and [out, out].
    """

    weight: str
    bias: str | None
    input_values: Tensor
    input_vectors: Tensor
    output_values: Tensor
    output_vectors: Tensor

    def solve(self, gradient: Weights, *, ridge: float) -> dict[str, Tensor]:
        """(A x G + ridge)^-1 times the layer's part of a gradient, by parameter name."""
        shape = gradient[self.weight].shape
        block = gradient[self.weight].reshape(shape[0], -1)
        if self.bias is not None:
            block = torch.cat([block, gradient[self.bias][:, None]], dim=1)
        block = block.to(self.input_vectors.dtype)
        rotated = self.output_vectors.T @ block @ self.input_vectors
        rotated = rotated / (torch.outer(self.output_values, self.input_values) + ridge)
        solved = self.output_vectors @ rotated @ self.input_vectors.T
        if self.bias is None:
            return {self.weight: solved.reshape(shape)}
        return {self.weight: solved[:, :-1].reshape(shape), self.bias: solved[:, -1]}


class _Layer:
    """The running sums of one layer."""

    def __init__(self, name: str, module: nn.Linear | nn.Conv2d) -> None:
        self.name, self.module = name, module
        self.inputs: list[Tensor] = []
        self.slopes: list[Tensor] = []
        self.input_sum: Tensor | None = None
        self.output_sum: Tensor | None = None
        self.places = 0

    def see(
        self,
        module: nn.Module,
        arguments: tuple[Tensor, ...],
        named: dict[str, Tensor],
        output: Tensor,
    ) -> None:
        """Forward hook: keep the input, and ask for the gradient at the output."""
        if output.requires_grad:
            self.inputs.append((arguments[0] if arguments else named["input"]).detach())
            output.register_hook(self._keep_slope)  # type: ignore[no-untyped-call]  # as in torch

    def _keep_slope(self, slope: Tensor) -> None:
        self.slopes.append(slope.detach())

    def collect(self) -> None:
        """Add what one backward pass left to the sums."""
        # Gradients arrive in the opposite order of the calls; the sums need no pairing.
        for value in self.inputs:
            rows = self._input_rows(value.to(at_least_single(value.dtype)))
            product = rows.T @ rows
            self.input_sum = product if self.input_sum is None else self.input_sum + product
            self.places += len(rows)
        for slope in self.slopes:
            rows = self._output_rows(slope.to(at_least_single(slope.dtype)))
            product = rows.T @ rows
            self.output_sum = product if self.output_sum is None else self.output_sum + product
        self.inputs.clear()
        self.slopes.clear()

    def factors(self, *, examples: int) -> Factors | None:
        """The factors of what was seen; None for a layer that was never run."""
        if self.input_sum is None or self.output_sum is None:
            return None
        inputs = torch.linalg.eigh(self.input_sum / examples)
        outputs = torch.linalg.eigh(self.output_sum / self.places)
        return Factors(
            weight=f"{self.name}.weight" if self.name else "weight",
            bias=(f"{self.name}.bias" if self.name else "bias") if self._has_bias else None,
            input_values=inputs.eigenvalues.clamp(min=0),
            input_vectors=inputs.eigenvectors,
            output_values=outputs.eigenvalues.clamp(min=0),
            output_vectors=outputs.eigenvectors,
        )

    @property
    def _has_bias(self) -> bool:
        return self.module.bias is not None and self.module.bias.requires_grad

    def _input_rows(self, value: Tensor) -> Tensor:
        """Inputs as the weights see them, [place, in (+ 1)]."""
        if isinstance(self.module, nn.Conv2d):
            patches = functional.unfold(
                _padded(value, self.module),
                self.module.kernel_size,
                dilation=self.module.dilation,
                stride=self.module.stride,
            )
            rows = patches.transpose(1, 2).reshape(-1, patches.shape[1])
        else:
            rows = value.reshape(-1, value.shape[-1])
        return functional.pad(rows, (0, 1), value=1.0) if self._has_bias else rows

    def _output_rows(self, slope: Tensor) -> Tensor:
        """Gradients at the outputs, [place, out]."""
        if isinstance(self.module, nn.Conv2d):
            slope = slope.movedim(1, -1)
        return slope.reshape(-1, slope.shape[-1])


class Recorder:
    """Watches the layers of a model that can be factored, while its `with` block runs.

    Args:
        model: None watches nothing.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self._layers: list[_Layer] = []
        self._hooks: list[RemovableHandle] = []
        if model is None:
            return
        # A weight with several uses is left to the diagonal, which sees them all.
        uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
        for name, module in model.named_modules():
            if _can_be_factored(module) and uses[id(module.weight)] == 1:
                self._layers.append(_Layer(name, module))

    def __enter__(self) -> Recorder:
        for layer in self._layers:
            self._hooks.append(layer.module.register_forward_hook(layer.see, with_kwargs=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def collect(self) -> None:
        """Take in what one forward and backward pass left behind."""
        for layer in self._layers:
            layer.collect()

    def factors(self, *, examples: int) -> dict[str, Factors]:
        """The factors by layer name, after all passes over `examples` examples."""
        found = {layer.name: layer.factors(examples=examples) for layer in self._layers}
        return {name: factors for name, factors in found.items() if factors is not None}


def _can_be_factored(module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Plain Linear and ungrouped Conv2d layers whose weight is trained."""
    if type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1):
        return module.weight.requires_grad
    return False


def _padded(value: Tensor, module: nn.Conv2d) -> Tensor:
    """The input with the convolution's own padding, whatever its mode."""
    edges = module._reversed_padding_repeated_twice  # torch's own, with 'same' resolved
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return functional.pad(value, edges, mode=mode)
