"""Which parameters of a language model move: all but its embeddings and its head.

A vocabulary has tens of thousands of tokens, so the curvature of embeddings and head is large and
poorly known, and what a document taught is found nearly as well in the blocks between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def moving_patterns(model: nn.Module) -> tuple[str | None, str]:
    """Patterns of the names of the parameters that move, and what is left out, in a sentence.

    Embeddings and head are those that the model itself names (`get_input_embeddings` and
    `get_output_embeddings`, as Hugging Face's do), every other `torch.nn.Embedding`, and where it
    names no head, the last `torch.nn.Linear` if it has an output for each token. None where
    nothing is left out, or all would be.
    """
    trainable = [name for name, weight in model.named_parameters() if weight.requires_grad]
    out = {id(weight) for layer in _vocabulary(model) for weight in layer.parameters()}
    named = dict(model.named_parameters())
    kept = [name for name in trainable if id(named[name]) not in out]
    if not kept or len(kept) == len(trainable):
        return None, "All trainable parameters move."
    total, moving = (sum(named[name].numel() for name in part) for part in (trainable, kept))
    return (
        "|".join(_patterns(trainable, set(kept))),
        f"Of the model's {total:,} trainable parameters, {moving:,} move: embeddings and head are "
        "left out (--parameters).",
    )


def _vocabulary(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that are as large as the vocabulary, and other embeddings."""
    from torch import nn  # noqa: PLC0415 - heavy

    for getter in ("get_input_embeddings", "get_output_embeddings"):
        own = _named_by(model, getter)
        if own is not None:
            yield own
    embeddings = [layer for layer in model.modules() if isinstance(layer, nn.Embedding)]
    yield from embeddings
    if _named_by(model, "get_output_embeddings") is None:
        sizes = {layer.num_embeddings for layer in embeddings}  # of tokens, of positions
        last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
        yield from (layer for layer in last if layer.out_features in sizes)


def _named_by(model: nn.Module, getter: str) -> nn.Module | None:
    """The layer that a method of the model gives, where it has the method and one is there."""
    from torch import nn  # noqa: PLC0415 - heavy

    method = getattr(model, getter, None)
    if not callable(method):
        return None
    try:
        found = method()
    except (NotImplementedError, AttributeError):  # a model without such a layer
        return None
    return found if isinstance(found, nn.Module) else None


def _patterns(trainable: Sequence[str], kept: set[str]) -> Iterable[str]:
    """Few patterns that match the kept names and no other trainable one."""
    groups: dict[str, list[str]] = {}
    for name in trainable:
        groups.setdefault(name.partition(".")[0], []).append(name)
    for first, names in groups.items():
        own = [name for name in names if name in kept]
        if not own:
            continue
        if len(own) == len(names) and (len(names) > 1 or "." in names[0]):
            yield f"{first}.*"
        elif names == [first]:
            yield first
        else:
            inner = [name.partition(".")[2] for name in names]
            chosen = {name.partition(".")[2] for name in own}
            yield from (f"{first}.{rest}" for rest in _patterns(inner, chosen))
