"""Curvature that was estimated once, kept for the next engine on the same model and data.

What `ggn.py` and `curvature.py` estimate depends on the model's weights, on the training examples
that are looked at, and on a few settings; damping comes afterwards. So it is kept under a name that
is made of these, and whoever asks under the same name is given the same numbers, bit by bit. Where
it is kept is not the engine's to know: it is given a `FactorStore`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from auditkit import fingerprint
from auditkit.batches import collate
from auditkit.engine.blocks import Block, Outer, Written
from auditkit.engine.curvature import Curvature
from auditkit.engine.ggn import GaussNewton
from auditkit.engine.kfac import Factors
from auditkit.engine.layers import Dense, Layer, Part, readable
from auditkit.engine.passes import common_numbers
from auditkit.engine.probes import examined
from auditkit.errors import StoreError
from auditkit.pool import Pool
from auditkit.subject import Task

_SPREAD = 4


@dataclass(frozen=True)
class KeptFactors:
    """Curvature as a store keeps it.

    Attributes:
        tensors: by name.
        facts: what is no tensor, as text.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, str]


class FactorStore(Protocol):
    """Where curvature is kept; `auditkit.FactorFolder` is a folder of files."""

    def get(self, key: str) -> KeptFactors | None:
        """What is kept under a key; None where there is nothing.

        Raises:
            StoreError: there is something, and it cannot be read.
        """

    def put(self, key: str, factors: KeptFactors) -> None:
        """Keep it under a key.

        Raises:
            StoreError: it cannot be written.
        """


T = TypeVar("T", Curvature, GaussNewton)


def kept_or_made(
    store: FactorStore | None,
    key: Callable[[], str],
    *,
    read: Callable[[KeptFactors], T],
    make: Callable[[], T],
    written: Callable[[T], KeptFactors],
    warn: Callable[[str], None] | None = None,
) -> T:
    """What the store keeps under a key; otherwise what is made now, and kept there.

    A store that fails costs the time of the estimate and a sentence to `warn`, never the result.
    """
    if store is None:
        return make()
    name = key()
    try:
        kept = store.get(name)
        if kept is not None:
            return read(kept)
    except StoreError as error:
        _tell(warn, f"Kept curvature was not used: {error}")
    made = make()
    try:
        store.put(name, written(made))
    except StoreError as error:
        _tell(warn, f"The curvature was not kept: {error}")
    return made


def key_of(
    what: str, task: Task, model: nn.Module, pool: Pool, *, seed: int, device: torch.device
) -> str:
    """A name that is the same whenever the estimate would be.

    What a model computes is known by what it answers on a few examples, beside its weights and what
    it prints: changed code with the same weights is another model.

    Args:
        what: the kind of estimate, and whatever else it depends on.
        task: gives outputs and losses.
        model: the trained model.
        pool: the train pool.
        seed: of what is drawn.
        device: where it is estimated; others round otherwise.
    """
    spread = np.linspace(0, len(pool) - 1, min(_SPREAD, len(pool))).astype(np.int64)
    looked_at = np.union1d(examined(task, pool, seed), spread)
    facts = {
        "estimate": what,
        "seed": seed,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "weights": fingerprint.of_weights(model),
        "prints": repr(model),
        "moving": sorted(n for n, weight in model.named_parameters() if weight.requires_grad),
        "task": fingerprint.described(type(task)),
        "likelihood": task.likelihood,
        "answers": _answers(task, model, pool, np.unique(spread), device),
        "examples": len(pool),
        "data": fingerprint.of_pool(pool.subset(looked_at)),
    }
    return fingerprint.of_example(facts)


def written_curvature(curvature: Curvature) -> KeptFactors:
    """An estimate, to be kept."""
    tensors = {f"diagonal/{name}": part for name, part in curvature.diagonal.items()}
    for layer, own in curvature.factors.items():
        tensors |= {f"factors/{each.name}/{layer}": getattr(own, each.name) for each in _FACTORS}
    return KeptFactors(tensors, {"layers": json.dumps(list(curvature.factors))})


def read_curvature(kept: KeptFactors, model: nn.Module, *, device: torch.device) -> Curvature:
    """The other way round.

    Raises:
        StoreError: it is of another model.
    """
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    modules = dict(model.named_modules())
    try:
        names: list[str] = json.loads(kept.facts["layers"])
        layers = {name: _dense(name, modules[name]) for name in names}
        diagonal = {
            name.removeprefix("diagonal/"): part.to(device)
            for name, part in kept.tensors.items()
            if name.startswith("diagonal/")
        }
        factors = {
            layer: Factors(
                **{e.name: kept.tensors[f"factors/{e.name}/{layer}"].to(device) for e in _FACTORS}
            )
            for layer in names
        }
        fits = all(part.shape == shapes[name] for name, part in diagonal.items())
        fits = fits and all(factors[n].moments.shape == layers[n].sides for n in names)
    except (KeyError, ValueError, TypeError) as error:
        raise _of_another(error) from error
    if not fits:
        raise _of_another("shapes")
    return Curvature(diagonal, layers, factors)


def written_matrix(matrix: GaussNewton) -> KeptFactors:
    """Rows of the Gauss-Newton matrix, to be kept."""
    tensors = {"gram": matrix.gram}
    names = {part: part.name if isinstance(part, Layer) else "" for part in matrix.parts}
    for part, block in matrix.blocks.items():
        kind = "layer" if isinstance(part, Layer) else "rest"
        if isinstance(block, Outer):
            tensors[f"{kind}/slopes/{names[part]}"] = block.slopes
            tensors[f"{kind}/inputs/{names[part]}"] = block.inputs
        else:
            tensors[f"{kind}/rows/{names[part]}"] = block.rows
    layers = [part.name for part in matrix.parts if isinstance(part, Layer)]
    rest = [name for p in matrix.parts if not isinstance(p, Layer) for name in p.weights]
    facts = {"layers": json.dumps(layers), "rest": json.dumps(rest), "share": repr(matrix.share)}
    return KeptFactors(tensors, facts)


def read_matrix(kept: KeptFactors, model: nn.Module, *, device: torch.device) -> GaussNewton:
    """The other way round.

    Raises:
        StoreError: it is of another model.
    """
    try:
        known = {layer.name: layer for layer in readable(model)}
        layers = [known[name] for name in json.loads(kept.facts["layers"])]
        shapes = {name: weight.shape for name, weight in model.named_parameters()}
        rest = {name: shapes[name] for name in json.loads(kept.facts["rest"])}
        parts: list[Part] = [*layers, *([Part(rest)] if rest else [])]
        gram, share = kept.tensors["gram"].to(device), float(kept.facts["share"])
        found = {part: _block(kept, part, device) for part in parts}
        blocks = {part: block for part, block in found.items() if block is not None}
    except (KeyError, ValueError, TypeError) as error:
        raise _of_another(error) from error
    covered = {name for part in parts for name in part.weights}
    moving = {name for name, weight in model.named_parameters() if weight.requires_grad}
    fits = gram.shape == (len(gram), len(gram)) and covered == moving
    if not fits or not all(_fits(part, block, len(gram)) for part, block in blocks.items()):
        raise _of_another("shapes")
    return GaussNewton(tuple(parts), blocks, gram, share)


_FACTORS = fields(Factors)


def _dense(name: str, module: nn.Module) -> Dense:
    if not hasattr(module, "weight"):
        raise ValueError(f"{name} has no weight")
    return Dense(name, module)


def _block(kept: KeptFactors, part: Part, device: torch.device) -> Block | None:
    kind, name = ("layer", part.name) if isinstance(part, Layer) else ("rest", "")
    rows = kept.tensors.get(f"{kind}/rows/{name}")
    if rows is not None:
        return Written(rows.to(device))
    slopes = kept.tensors.get(f"{kind}/slopes/{name}")
    if slopes is None:
        return None
    return Outer(slopes.to(device), kept.tensors[f"{kind}/inputs/{name}"].to(device))


def _fits(part: Part, block: Block, rows: int) -> bool:
    size = sum(shape.numel() for shape in part.weights.values())
    if isinstance(block, Written):
        return block.rows.shape == (rows, size)
    slopes, inputs = block.slopes, block.inputs
    return len(slopes) == len(inputs) == rows and slopes.shape[1] * inputs.shape[1] == size


def _answers(
    task: Task, model: nn.Module, pool: Pool, places: np.ndarray, device: torch.device
) -> list[Tensor]:
    """What the model says of a few examples."""
    with torch.no_grad(), common_numbers(pool, places):
        batch = collate(pool, places, device=device)
        found = [task.loss(model, batch)]
        if task.has_outputs:
            found.append(task.outputs(model, batch)[0])
    return found


def _of_another(reason: object) -> StoreError:
    return StoreError(f"it does not fit the model ({reason}).")


def _tell(warn: Callable[[str], None] | None, sentence: str) -> None:
    if warn is not None:
        warn(sentence)
