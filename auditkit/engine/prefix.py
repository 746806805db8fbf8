"""The part of a model that does not move, run once per batch for all queries.

Where only later layers move, what comes before them is the same under every query's weights. The
model is traced (`torch.fx`), and whatever does not depend on a moved parameter is computed once and
kept until other inputs come: those of the next batch, or of another draw of noise. Each run is
handed copies of it, since layers may work in place. A model that cannot be traced, or gives other
values when it is, runs as a whole.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from auditkit.engine.passes import Function, call

if TYPE_CHECKING:
    from auditkit.subject import Batch

_FAILS = (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, KeyError)


class Prefixed(nn.Module):
    """A traced model that computes what does not move once per batch.

    Args:
        traced: the model's graph, on its own parameters.
        moving: every name of the parameters that move, shared ones under each of theirs.
    """

    def __init__(self, traced: fx.GraphModule, moving: Collection[str]) -> None:
        super().__init__()
        self.traced = traced
        self._still = _still(traced, frozenset(moving))
        self._frontier = {
            node for node in self._still if any(user not in self._still for user in node.users)
        }
        self._kept: dict[fx.Node, object] | None = None
        self._inputs: tuple[Tensor, ...] = ()

    @property
    def share(self) -> float:
        """The share of the graph's calls that are computed once."""
        calls = [node for node in self.traced.graph.nodes if node.op.startswith("call")]
        return sum(node in self._still for node in calls) / max(len(calls), 1)

    def forget(self) -> None:
        """Another batch comes."""
        self._kept, self._inputs = None, ()

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the model gives."""
        if self._kept is None or not _same(inputs, self._inputs):
            with torch.no_grad():
                self._kept, self._inputs = self._run_still(inputs), inputs
        result: Tensor = fx.Interpreter(self.traced).run(*inputs, initial_env=self._copies())
        return result

    def _copies(self) -> dict[fx.Node, object]:
        """What was kept, without a way to change it; weights are never changed in place."""
        kept = self._kept or {}
        return {
            node: value
            if node.op == "get_attr"
            else tree_map_only(Tensor, lambda part: part.clone(), value)
            for node, value in kept.items()
        }

    def _run_still(self, inputs: tuple[Tensor, ...]) -> dict[fx.Node, object]:
        """The values of the nodes that do not move; those that no moving node asks for are None."""
        run = fx.Interpreter(self.traced, garbage_collect_values=False)
        run.args_iter = iter(inputs)
        for node in self.traced.graph.nodes:
            if node in self._still:
                run.env[node] = run.run_node(node)
        return {node: run.env[node] if node in self._frontier else None for node in self._still}


def _same(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> bool:
    pairs = zip(some, others, strict=False)
    return len(some) == len(others) and all(a is b or torch.equal(a, b) for a, b in pairs)


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
    own = dict(model.named_parameters())
    if not set(moving) < set(own):
        return None, True
    weights = {f"traced.{name}": own[name] for name in moving}
    try:
        with torch.no_grad():
            prefixed = Prefixed(fx.symbolic_trace(model), _every_name(model, moving))
            expected = function(model, batch)
            # Twice: the second time on what the first one kept.
            found = [call(function, prefixed, batch, weights) for _ in range(2)]
            same = all(torch.equal(values, expected) for values in found)
    except _FAILS:  # control flow that depends on data, inputs by keyword, a task of another kind
        return None, False
    prefixed.forget()
    return (prefixed, True) if same and prefixed.share > 0 else (None, same)


def _every_name(model: nn.Module, names: Collection[str]) -> frozenset[str]:
    """The names, and all others that the parameters of these names have in the model."""
    named = list(model.named_parameters(remove_duplicate=False))
    chosen = {id(weight) for name, weight in named if name in names}
    return frozenset(name for name, weight in named if id(weight) in chosen)


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
