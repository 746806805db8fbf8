"""Gradients of what a task returns, whatever mode the caller's code runs in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from auditkit.errors import TaskError


@contextmanager
def differentiable() -> Iterator[None]:
    """Record gradients within, also where the caller runs under `no_grad` or `inference_mode`."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield


@contextmanager
def plain_kernels(model: nn.Module) -> Iterator[None]:
    """Within, what the model runs can be differentiated twice, forward, and over examples.

    Fused attention and fused recurrent cells have a first derivative by reverse mode and no other;
    they are computed by their parts here, and fused again after.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    recurrent = any(isinstance(layer, nn.RNNBase) for layer in model.modules())
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        # torch's own forward mode announces, on its first use, what torch has deprecated.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)
        if recurrent:
            stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
            torch._C._set_mkldnn_enabled(False)  # `flags` would warn of what this build has not
        yield


def gradient(value: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """The gradient of one number, by name of the model's trainable parameters that bear on it.

    Nothing is accumulated: no parameter's `.grad` changes, this model's or any other's.

    Raises:
        TaskError: no trainable parameter of the model bears on it.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    found: dict[str, Tensor] = {}
    if weights and value.requires_grad:
        parts = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        found = {name: part for name, part in zip(weights, parts, strict=True) if part is not None}
    if not found:
        raise TaskError(
            "What the task returns does not depend on trainable weights of the model it is given: "
            "in `loss`, `measure` and `outputs`, call the `model` argument, not `self.model`, do "
            "not detach or convert its results, and keep its weights trainable."
        )
    return found
