"""The kinds of layers whose gradients per example are read off one forward and backward pass.

A layer's input and the slope at its output (the gradient of the summed measure there) are enough:
examples do not meet in a model in evaluation mode, so the slope at an example's output is that of
its own measure. Linear, Conv2d and Hugging Face's Conv1D layers multiply; normalization layers
scale and shift; an embedding looks up. Everything else is left to `per_example.py`'s other ways.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from auditkit.engine.blocks import Block, Outer, Written

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.RMSNorm)


class Part:
    """Some of a model's trainable parameters, whose gradients are held in blocks of their own.

    Args:
        weights: full names of the parameters and their shapes, in the order in which the columns
            of the blocks hold them.
    """

    def __init__(self, weights: Mapping[str, torch.Size]) -> None:
        self.weights = dict(weights)

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Directions by name, [q, *shape] each, as columns of this layer's blocks, [q, size]."""
        return torch.cat([_rows(weights[name]) for name in self.weights], dim=1)

    def unpack(self, packed: Tensor) -> dict[str, Tensor]:
        """The other way round."""
        parts = torch.split(packed, [shape.numel() for shape in self.weights.values()], dim=1)
        return {
            name: part.reshape(len(packed), *shape)
            for (name, shape), part in zip(self.weights.items(), parts, strict=True)
        }


class Layer(Part, ABC):
    """One layer of a model whose gradients per example can be read off.

    Attributes:
        name: of the module in the model.
        module: the layer.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        prefix = f"{name}." if name else ""
        super().__init__(
            {
                prefix + own: parameter.shape
                for own, parameter in module.named_parameters(recurse=False)
                if parameter.requires_grad
            }
        )

    @abstractmethod
    def block(self, value: Tensor, slope: Tensor) -> Block:
        """Gradients per example, from the layer's input and the slope at its output."""


class Dense(Layer):
    """A layer that multiplies its input, at each of its places, by a matrix [out, in].

    A bias is one more input that is always 1, so blocks have out * (in + 1) columns.
    """

    module: nn.Linear | nn.Conv2d

    @property
    def has_bias(self) -> bool:
        """Whether a trainable bias is one more input."""
        return self.module.bias is not None and self.module.bias.requires_grad

    @property
    def sides(self) -> tuple[int, int]:
        """The matrix with its bias: (out, in + 1)."""
        shape = next(iter(self.weights.values()))
        out, size = shape[0], shape.numel() // shape[0]
        if self.transposed:
            out, size = size, out
        return out, size + self.has_bias

    @property
    def transposed(self) -> bool:
        """Whether the weight is kept as [in, out]."""
        return _is_transposed(self.module)

    def inputs(self, value: Tensor) -> Tensor:
        """The input as the weights see it, [example, place, in (+ 1)]."""
        if isinstance(self.module, nn.Conv2d):
            rows = functional.unfold(
                _padded(value, self.module),
                self.module.kernel_size,
                dilation=self.module.dilation,
                stride=self.module.stride,
            ).transpose(1, 2)
        else:
            rows = value.reshape(len(value), -1, value.shape[-1])
        return functional.pad(rows, (0, 1), value=1.0) if self.has_bias else rows

    def slopes(self, slope: Tensor) -> Tensor:
        """The slope at the output, [example, place, out]."""
        if isinstance(self.module, nn.Conv2d):
            return slope.flatten(start_dim=2).transpose(1, 2)
        return slope.reshape(len(slope), -1, slope.shape[-1])

    def block(self, value: Tensor, slope: Tensor) -> Block:
        """Outer products where there is one place; their sums over places elsewhere."""
        if isinstance(self.module, nn.Conv2d) and value.is_cpu and slope[0, 0].numel() > 1:
            return Written(self._convolved(self.module, value, slope))
        rows, slopes = self.inputs(value), self.slopes(slope)
        if rows.shape[1] == 1:
            return Outer(slopes[:, 0], rows[:, 0])
        return Written(torch.bmm(slopes.transpose(1, 2), rows).flatten(start_dim=1))

    def _convolved(self, module: nn.Conv2d, value: Tensor, slope: Tensor) -> Tensor:
        """A convolution's gradients, one example at a time by its own kernel, [n, size].

        On CPUs that is two to six times faster than matrix products of unfolded patches.
        """
        shape, padded = next(iter(self.weights.values())), _padded(value, module)
        found = [
            conv2d_weight(  # type: ignore[no-untyped-call]  # as in torch
                padded[place : place + 1],
                shape,
                slope[place : place + 1],
                stride=module.stride,
                dilation=module.dilation,
            )
            for place in range(len(value))
        ]
        matrix = torch.cat(found).reshape(len(value), shape[0], -1)
        if self.has_bias:
            matrix = torch.cat([matrix, slope.flatten(start_dim=2).sum(dim=2)[:, :, None]], dim=2)
        return matrix.flatten(start_dim=1)

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Directions by name as matrices [out, in (+ 1)], flattened: [q, out * in (+ 1)]."""
        weight, *bias = (weights[name] for name in self.weights)
        matrix = weight.transpose(1, 2) if self.transposed else weight.flatten(start_dim=2)
        if bias:
            matrix = torch.cat([matrix, bias[0][:, :, None]], dim=2)
        return matrix.flatten(start_dim=1)

    def unpack(self, packed: Tensor) -> dict[str, Tensor]:
        """The other way round."""
        matrix = packed.view(len(packed), *self.sides)
        weight, *bias = self.weights
        main = matrix[:, :, :-1] if bias else matrix
        if self.transposed:
            main = main.transpose(1, 2)
        found = {weight: main.reshape(len(packed), *self.weights[weight])}
        return found | dict.fromkeys(bias, matrix[:, :, -1])


class Scale(Layer):
    """A normalization layer: what it normalizes, scaled and shifted per channel."""

    def block(self, value: Tensor, slope: Tensor) -> Block:
        """Sums over places, for the scale and for the shift where they are trained."""
        parts = []
        for name in self.weights:
            scale = name.endswith("weight")
            parts.append(self._per_channel(slope * self._normalized(value) if scale else slope))
        return Written(torch.cat(parts, dim=1))

    def _per_channel(self, part: Tensor) -> Tensor:
        size = next(iter(self.weights.values())).numel()
        if isinstance(self.module, nn.LayerNorm | nn.RMSNorm):  # channels are the last axes
            return part.reshape(len(part), -1, size).sum(dim=1)
        return part.reshape(len(part), size, -1).sum(dim=2)

    def _normalized(self, value: Tensor) -> Tensor:
        """The layer's output with weight 1 and bias 0."""
        module = self.module
        if isinstance(module, nn.LayerNorm):
            return functional.layer_norm(value, module.normalized_shape, eps=module.eps)
        if isinstance(module, nn.RMSNorm):
            return functional.rms_norm(value, module.normalized_shape, eps=module.eps)
        if isinstance(module, nn.GroupNorm):
            return functional.group_norm(value, module.num_groups, eps=module.eps)
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)  # noqa: S101 - the last kind
        return functional.batch_norm(value, module.running_mean, module.running_var, eps=module.eps)


class Lookup(Layer):
    """An embedding: a row of the table per token."""

    module: nn.Embedding

    def block(self, value: Tensor, slope: Tensor) -> Block:
        """The slopes at each token's places, added up."""
        count, width = self.module.num_embeddings, slope.shape[-1]
        tokens, slopes = value.reshape(len(value), -1), slope.reshape(len(slope), -1, width)
        if self.module.padding_idx is not None:
            slopes = slopes * (tokens != self.module.padding_idx)[:, :, None]
        table = slopes.new_zeros(len(value), count, width)
        table.scatter_add_(1, tokens[:, :, None].expand_as(slopes), slopes)
        return Written(table.flatten(start_dim=1))


def _rows(part: Tensor) -> Tensor:
    """[q, *shape] as [q, size], also where the shape is that of a single number."""
    return part.reshape(len(part), -1)


def readable(model: nn.Module) -> Iterator[Layer]:
    """The layers of a model whose gradients per example can be read off.

    A weight with several uses is left out, since no single layer sees all of its gradient; so is
    what a parametrization computes.
    """
    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if not any(weight.requires_grad for weight in own) or hasattr(module, "parametrizations"):
            continue
        if any(uses[id(weight)] > 1 for weight in own):
            continue
        if is_dense(module):
            yield Dense(name, module)
        elif type(module) in _NORMS and getattr(module, "track_running_stats", True):
            yield Scale(name, module)
        elif type(module) is nn.Embedding and module.max_norm is None:
            yield Lookup(name, module)


def is_dense(module: nn.Module) -> bool:
    """Plain Linear, ungrouped Conv2d and Hugging Face's Conv1D layers, with trained weights."""
    plain = type(module) is nn.Linear or _is_transposed(module)
    plain = plain or (type(module) is nn.Conv2d and module.groups == 1)
    weight = getattr(module, "weight", None)
    return plain and isinstance(weight, Tensor) and weight.requires_grad


def _is_transposed(module: nn.Module) -> bool:
    """Conv1D of Hugging Face's GPT-2: a Linear layer with its weight as [in, out]."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def _padded(value: Tensor, module: nn.Conv2d) -> Tensor:
    """The input with the convolution's own padding, whatever its mode."""
    edges = module._reversed_padding_repeated_twice  # torch's own, with 'same' resolved
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return functional.pad(value, edges, mode=mode)
