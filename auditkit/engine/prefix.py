"""The part of a model that does not move, run once per batch for all queries.

Where only later layers move, what comes before them is the same under every query's weights. The
model is traced (`torch.fx`), and whatever does not depend on a moved parameter is computed once and
kept until the next batch comes. A model that cannot be traced, or gives other values when it is,
runs as a whole.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from auditkit.engine.passes import Function

if TYPE_CHECKING:
    from auditkit.subject import Batch

_FAILS = (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, KeyError)


class Prefixed(nn.Module):
    """A traced model that computes what does not move once per batch.

    Args:
        traced: the model's graph, on its own parameters.
        moving: names of the parameters that move.
    """

    def __init__(self, traced: fx.GraphModule, moving: Collection[str]) -> None:
        super().__init__()
        self.traced = traced
        self._still = _still(traced, frozenset(moving))
        self._frontier = {
            node for node in self._still if any(user not in self._still for user in node.users)
        }
        self._kept: dict[fx.Node, object] | None = None

    @property
    def share(self) -> float:
        """The share of the graph's calls that are computed once."""
        calls = [node for node in self.traced.graph.nodes if node.op.startswith("call")]
        return sum(node in self._still for node in calls) / max(len(calls), 1)

    def forget(self) -> None:
        """Another batch comes."""
        self._kept = None

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the model gives."""
        if self._kept is None:
            with torch.no_grad():
                self._kept = self._run_still(inputs)
        result: Tensor = fx.Interpreter(self.traced).run(*inputs, initial_env=dict(self._kept))
        return result

    def _run_still(self, inputs: tuple[Tensor, ...]) -> dict[fx.Node, object]:
        """The values of the nodes that do not move; those that no moving node asks for are None."""
        run = fx.Interpreter(self.traced, garbage_collect_values=False)
        run.args_iter = iter(inputs)
        for node in self.traced.graph.nodes:
            if node in self._still:
                run.env[node] = run.run_node(node)
        return {node: run.env[node] if node in self._frontier else None for node in self._still}


def shared_prefix(
    model: nn.Module, moving: Collection[str], function: Function, batch: Batch
) -> tuple[Prefixed | None, bool]:
    """The model with its unmoved part kept per batch, and whether it could be had.

    None without a failure where all of the model moves, or its first layer does.

    Args:
        model: the trained model, in evaluation mode.
        moving: names of the parameters that move.
        function: what will be measured.
        batch: on which the two are compared.
    """
    if not set(moving) < {name for name, _ in model.named_parameters()}:
        return None, True
    try:
        with torch.no_grad():
            prefixed = Prefixed(fx.symbolic_trace(model), moving)
            same = torch.equal(function(prefixed, batch), function(model, batch))
    except _FAILS:  # control flow that depends on data, inputs by keyword, a task of another kind
        return None, False
    prefixed.forget()
    return (prefixed, True) if same and prefixed.share > 0 else (None, same)


def _still(traced: fx.GraphModule, moving: frozenset[str]) -> dict[fx.Node, None]:
    """The nodes that depend on no moving parameter, in order."""
    found: dict[fx.Node, None] = {}
    for node in traced.graph.nodes:
        own = str(node.target)
        moves = node.op == "output" or any(other not in found for other in node.all_input_nodes)
        if node.op == "call_module":
            moves = moves or any(name.startswith(f"{own}.") for name in moving)
        elif node.op == "get_attr":
            moves = moves or own in moving
        if not moves:
            found[node] = None
    return found
