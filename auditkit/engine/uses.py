"""What the layers of a model saw in one pass, and gradients per example made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch import Tensor, nn

from auditkit.engine.blocks import Block, Outer, Written
from auditkit.engine.layers import Layer
from auditkit.engine.passes import Function, at_least_single, call

if TYPE_CHECKING:
    from auditkit.subject import Batch

Hook: TypeAlias = Callable[[nn.Module, tuple[Tensor, ...], Mapping[str, Tensor], Tensor], Tensor]

_AT_ONCE = 2**22
"""How many numbers of written-out gradients are held for products: 16 MiB in single precision."""


@dataclass
class Use:
    """One use of a layer in a forward pass: its input, and the slope at its output."""

    value: Tensor
    slope: Tensor | None = None


@dataclass(frozen=True)
class Reading:
    """One batch, read.

    Attributes:
        values: what the function gave, [n].
        uses: by layer that saw every example each time, each of its uses that bore on the values.
        partial: layers that saw some of the examples, or something else, at their first axis.
    """

    values: Tensor
    uses: Mapping[Layer, Sequence[Use]]
    partial: Sequence[Layer]


def read(function: Function, model: nn.Module, batch: Batch, layers: Sequence[Layer]) -> Reading:
    """Run the function once, forward and backward, and keep what the layers saw.

    Gradients by weights are never computed: the weights are held fixed, and the slopes alone are
    sent back.
    """
    fixed = {name: weight.detach() for name, weight in model.named_parameters()}
    probe = torch.zeros((), requires_grad=True, device=next(iter(fixed.values())).device)
    seen: dict[Layer, list[Use]] = {layer: [] for layer in layers}
    hooks = [
        layer.module.register_forward_hook(_watch(seen[layer], probe), with_kwargs=True)
        for layer in layers
    ]
    try:
        values = call(function, model, batch, fixed)
        if values.requires_grad:
            torch.autograd.grad(values.sum(), probe, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    whole: dict[Layer, list[Use]] = {}
    partial = []
    for layer, found in seen.items():
        bearing = [use for use in found if use.slope is not None]
        if any(
            not len(use.value) == len(cast(Tensor, use.slope)) == len(values) for use in bearing
        ):
            partial.append(layer)
        elif bearing:
            whole[layer] = bearing
    return Reading(values.detach(), whole, partial)


def block_of(layer: Layer, uses: Sequence[Use]) -> Block:
    """The gradients of all uses of a layer, in single precision at least."""
    blocks = []
    for use in uses:
        slope = cast(Tensor, use.slope)
        slope = slope.to(at_least_single(slope.dtype))
        value = use.value.to(slope.dtype) if use.value.is_floating_point() else use.value
        blocks.append(layer.block(value, slope))
    if len(blocks) == 1:
        return blocks[0]
    return Written(torch.stack([block.written() for block in blocks]).sum(dim=0))


def inner(layer: Layer, uses: Sequence[Use], directions: Block) -> Tensor:
    """Gradients of a layer times directions, [n, q], in pieces that stay in the cache."""
    size = sum(shape.numel() for shape in layer.weights.values())
    count, at_once = len(uses[0].value), max(_AT_ONCE // size, 1)
    pieces = []
    for start in range(0, count, at_once):
        where = slice(start, start + at_once)
        some = [Use(use.value[where], cast(Tensor, use.slope)[where]) for use in uses]
        block = block_of(layer, some)
        if isinstance(block, Outer):  # nothing is written down: all at once
            return block_of(layer, uses).inner(directions)
        pieces.append(block.inner(directions))
    return torch.cat(pieces)


def _watch(uses: list[Use], probe: Tensor) -> Hook:
    """A forward hook that keeps the input and asks for the slope at the output."""

    def hook(
        _: nn.Module,
        arguments: tuple[Tensor, ...],
        named: Mapping[str, Tensor],
        output: Tensor,
    ) -> Tensor:
        value = arguments[0] if arguments else named["input"]
        use = Use(value.detach())
        # In precision of the output: the probe adds nothing and makes it differentiable.
        watched = output if output.requires_grad else output + probe.to(output.dtype)
        if not watched.requires_grad:  # run without gradients: it does not bear on the values
            return output
        watched.register_hook(  # type: ignore[no-untyped-call]  # as in torch
            lambda slope: setattr(use, "slope", slope.detach())
        )
        uses.append(use)
        return watched

    return hook
