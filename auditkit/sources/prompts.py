"""The prompts of a diffusion model's folder, turned into what its denoiser is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from auditkit.errors import TaskError, UsageError
from auditkit.sources.pretrained import without_bars
from auditkit.sources.weights import (
    check_safetensors,
    check_undamaged,
    loading_part,
    settings_of,
    sound,
)

_TEXT_ENCODERS = ("CLIPTextModel", "T5EncoderModel")

_PROMPTS = 16
"""How many prompts are encoded at once."""

_LONGEST = 512
"""How many tokens a prompt has at most, where nothing else says so."""


class _TextConfig(Protocol):
    """What is read of a text encoder's configuration."""

    hidden_size: int
    vocab_size: int


class _Tokenizer(Protocol):
    """What is read of a tokenizer."""

    pad_token: str | None
    model_max_length: int

    def __len__(self) -> int: ...


def embedding(
    folder: Path, takes: int | Sequence[int], *, device: str
) -> Callable[[Sequence[str]], Tensor]:
    """What turns prompts into the denoiser's conditions.

    Args:
        folder: of the pipeline, with `text_encoder` and `tokenizer` in it.
        takes: how many features a token the denoiser takes.
        device: where the text encoder runs.

    Raises:
        UsageError: transformers is not installed.
        UnreadableError: a part cannot be loaded, or not safely.
        TaskError: a text encoder of another kind, or parts that do not fit one another.
    """
    try:
        import transformers  # noqa: PLC0415 - an extra, and heavy
    except ImportError as error:
        raise UsageError(
            "Prompts need the extra `text` too: pip install 'auditkit-influence[diffusion,text]'."
        ) from error
    place = folder / "text_encoder"
    named = settings_of(place / "config.json").get("architectures")
    kind = str(named[0]) if isinstance(named, list) and named else "none"
    if kind not in _TEXT_ENCODERS:
        raise TaskError(
            f"The text encoder of {folder.name} is {kind}: expected one of "
            f"{', '.join(_TEXT_ENCODERS)}; for others, give (image, prompt embedding) pairs in "
            "Python."
        )
    check_safetensors(place, whole=folder)
    check_undamaged(place, whole=folder)
    with loading_part(folder / "tokenizer", folder):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder / "tokenizer", local_files_only=True, trust_remote_code=False
        )
    with without_bars(), loading_part(place, folder):
        encoder, about = getattr(transformers, kind).from_pretrained(
            place, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    encoder = sound(encoder, about["missing_keys"], place, whole=folder).to(device)
    length = _prompt_length(tokenizer, encoder, takes, folder)

    def embed(prompts: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(prompts), _PROMPTS):
            tokens = tokenizer(
                list(prompts[start : start + _PROMPTS]), padding="max_length", truncation=True,
                max_length=length, return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                parts.append(encoder(tokens.input_ids.to(device))[0].cpu())
        return torch.cat(parts)

    return embed


def _prompt_length(
    tokenizer: _Tokenizer, encoder: nn.Module, takes: int | Sequence[int], folder: Path
) -> int:
    """How many tokens a prompt is padded or cut to, if the parts fit one another.

    Raises:
        TaskError: they do not.
    """
    own = cast(_TextConfig, encoder.config)
    widths = {takes} if isinstance(takes, int) else set(takes)
    if widths != {own.hidden_size}:
        raise TaskError(
            f"The text encoder of {folder.name} gives {own.hidden_size} features a token and the "
            f"denoiser takes {', '.join(map(str, sorted(widths)))}: expected those that were "
            "trained together."
        )
    if len(tokenizer) > own.vocab_size:
        raise TaskError(
            f"The tokenizer of {folder.name} knows {len(tokenizer):,} tokens and the text encoder "
            f"{own.vocab_size:,}: expected those that were trained together."
        )
    if tokenizer.pad_token is None:
        raise TaskError(
            f"The tokenizer of {folder.name} has no padding token: set tokenizer.pad_token to the "
            "one prompts were padded with in training, and save it anew."
        )
    places = getattr(own, "max_position_embeddings", _LONGEST)
    return min(tokenizer.model_max_length, places, _LONGEST)
