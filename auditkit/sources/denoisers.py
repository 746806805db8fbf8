"""Diffusion models from a local folder of diffusers: a denoiser, its schedule, what goes around it.

The folder is what `save_pretrained` of a pipeline writes (`unet/`, `scheduler/`, and for latent
models `vae/` or `vqvae/`, for prompts `text_encoder/` and `tokenizer/`), or that of a U-Net alone
with a `scheduler_config.json` in it. Nothing is downloaded, no code in the folder is run, and
pickled weights are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from auditkit.errors import SubjectReferenceError, TaskError, UnreadableError, UsageError
from auditkit.sources.exact import Form
from auditkit.sources.weights import check_safetensors
from auditkit.tasks.schedule import Schedule

if TYPE_CHECKING:
    from types import ModuleType

_UNETS = ("UNet2DModel", "UNet2DConditionModel")
_ENCODERS = {"vae": "AutoencoderKL", "vqvae": "VQModel"}
_TEXT_ENCODERS = ("CLIPTextModel", "T5EncoderModel")
_PROMPTS = 16
"""How many prompts are encoded at once."""


class _Config(Protocol):
    """What is read of a model's configuration."""

    in_channels: int
    sample_size: int | Sequence[int] | None
    block_out_channels: Sequence[int]


@dataclass(frozen=True)
class Denoiser:
    """A diffusion model with what goes around it.

    Attributes:
        name: of its folder.
        model: the U-Net, in evaluation mode.
        schedule: how it was trained to see images mixed with noise.
        encoder: the autoencoder of a latent model, on the device; None for one of pixels.
        form: what images it makes.
        classes: how many classes it knows; None where it knows none.
        embed: from prompts to embeddings, [prompt, token, feature]; None where it takes none.
        fresh: gives a newly initialized U-Net.
    """

    name: str
    model: nn.Module
    schedule: Schedule
    encoder: nn.Module | None
    form: Form
    classes: int | None
    embed: Callable[[Sequence[str]], Tensor] | None
    fresh: Callable[[], nn.Module]


def load_denoiser(folder: Path, *, device: str) -> Denoiser:
    """The diffusion model in a local folder.

    Raises:
        SubjectReferenceError: there is no such folder.
        UnreadableError: what is in it cannot be loaded, or not safely.
        TaskError: a scheduler or a U-Net of another kind.
        UsageError: diffusers, or for prompts transformers, is not installed.
    """
    folder = _checked(folder)
    library = _library()
    unet, kind = _unet(folder)
    schedule = _schedule(folder, library)
    model = _weights(library, kind, unet, whole=folder)
    encoder = _encoder(folder, library)
    config = cast(_Config, model.config)
    return Denoiser(
        name=folder.name,
        model=model,
        schedule=schedule,
        encoder=None if encoder is None else encoder.to(device),
        form=_form(config, encoder),
        classes=getattr(config, "num_class_embeds", None),
        embed=_embedding(folder, config, device=device) if kind == _UNETS[1] else None,
        fresh=lambda: cast(nn.Module, getattr(library, kind).from_config(config)),
    )


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the denoiser in a local folder, which needs no scheduler.

    Raises:
        SubjectReferenceError: there is no such folder.
        UnreadableError: what is in it cannot be loaded, or not safely.
        TaskError: a U-Net of another kind.
        UsageError: diffusers is not installed.
    """
    folder = _checked(folder)
    library = _library()
    unet, kind = _unet(folder)
    return _weights(library, kind, unet, whole=folder).state_dict()


def _checked(folder: Path) -> Path:
    """The folder under its own name, wherever it is given from."""
    if not folder.is_dir():
        raise SubjectReferenceError(
            f"There is no folder {str(folder)!r}: expected the local folder of a diffusers "
            "pipeline, with unet/ and scheduler/ in it."
        )
    return folder.resolve()


def _unet(folder: Path) -> tuple[Path, str]:
    """Where the denoiser of a pipeline is, or of itself, and its class."""
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    return unet, _kind(unet, _UNETS, what="denoiser")


def _library() -> ModuleType:
    try:
        import diffusers  # noqa: PLC0415 - an extra, and heavy
    except ImportError as error:
        raise UsageError(
            "Diffusion models need the extra `diffusion`: pip install "
            "'auditkit-influence[diffusion]'."
        ) from error
    return cast("ModuleType", diffusers)


def _settings(path: Path) -> Mapping[str, object]:
    """A configuration file's entries.

    Raises:
        UnreadableError: there is none, or it is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, ValueError) as error:
        reason = "is missing" if not path.exists() else f"cannot be read ({error})"
        raise UnreadableError(
            f"{path.name} of {path.parent.name} {reason}: expected what save_pretrained of "
            "diffusers writes."
        ) from error
    if not isinstance(found, dict):
        raise UnreadableError(f"{path.name} of {path.parent.name} is no configuration.")
    return found


def _kind(folder: Path, known: Sequence[str], *, what: str) -> str:
    found = str(_settings(folder / "config.json").get("_class_name"))
    if found not in known:
        raise TaskError(
            f"The {what} in {folder.name} is a {found}: expected one of {', '.join(known)}; for "
            "others, give a subject in Python with auditkit.DiffusionTask."
        )
    return found


def _schedule(folder: Path, library: ModuleType) -> Schedule:
    inside = folder / "scheduler"
    place = inside if inside.is_dir() else folder
    name = str(_settings(place / "scheduler_config.json").get("_class_name"))
    kind: object = getattr(library, name, None)
    if not (isinstance(kind, type) and issubclass(kind, library.SchedulerMixin)):
        raise UnreadableError(f"The scheduler of {folder.name} is a {name}, which is not known.")
    with _quiet(library):
        try:
            scheduler = kind.from_pretrained(  # type: ignore[attr-defined]  # as all schedulers
                place, local_files_only=True
            )
        except (OSError, ValueError, TypeError) as error:
            raise _broken(place, folder, error) from error
    return Schedule.of(scheduler)


def _weights(library: ModuleType, kind: str, place: Path, *, whole: Path) -> nn.Module:
    """A part of a pipeline, whole, from safetensors alone."""
    check_safetensors(place, whole=whole)
    with _quiet(library):
        try:
            model, about = getattr(library, kind).from_pretrained(
                place, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False,
                output_loading_info=True,
            )  # fmt: skip
        except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
            raise _broken(place, whole, error) from error
    if about["missing_keys"]:
        raise UnreadableError(
            f"The weights in {place.name} of {whole.name} are not whole: "
            f"{len(about['missing_keys'])} are missing, {about['missing_keys'][0]} the first; save "
            "the model anew."
        )
    return cast(nn.Module, model.eval())


def _encoder(folder: Path, library: ModuleType) -> nn.Module | None:
    for inside, kind in _ENCODERS.items():
        if (folder / inside).is_dir():
            _kind(folder / inside, (kind,), what="autoencoder")
            return _weights(library, kind, folder / inside, whole=folder)
    return None


def _form(config: _Config, encoder: nn.Module | None) -> Form:
    """What images the model makes, by its size and its autoencoder's."""
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) or size is None else size
    channels, times = config.in_channels, 1
    if encoder is not None:
        own = cast(_Config, encoder.config)
        channels, times = own.in_channels, 2 ** (len(own.block_out_channels) - 1)
    if channels not in (1, 3):
        raise TaskError(
            f"The denoiser takes {channels} channels: expected 1 (grey) or 3 (colour), or an "
            "autoencoder beside it; for others, give a subject in Python with "
            "auditkit.DiffusionTask."
        )
    known = height is not None and width is not None
    return Form(channels, (width * times, height * times) if known else None)  # type: ignore[operator]


def _embedding(folder: Path, config: _Config, *, device: str) -> Callable[[Sequence[str]], Tensor]:
    """What turns prompts into the denoiser's conditions."""
    kinds = ("addition_embed_type", "class_embed_type", "num_class_embeds")
    more = next((name for name in kinds if getattr(config, name, None)), None)
    if more or (folder / "text_encoder_2").is_dir():
        raise TaskError(
            f"The denoiser in {folder.name} takes more than a prompt "
            f"({more or 'text_encoder_2'}): give a "
            "subject in Python with auditkit.DiffusionTask and a model that closes over the rest."
        )
    try:
        import transformers  # noqa: PLC0415 - an extra, and heavy
    except ImportError as error:
        raise UsageError(
            "Prompts need the extra `text` too: pip install 'auditkit-influence[diffusion,text]'."
        ) from error
    place = folder / "text_encoder"
    named = _settings(place / "config.json").get("architectures")
    kind = str(named[0]) if isinstance(named, list) and named else "none"
    if kind not in _TEXT_ENCODERS:
        raise TaskError(
            f"The text encoder of {folder.name} is {kind}: expected one of "
            f"{', '.join(_TEXT_ENCODERS)}; for others, give (image, prompt embedding) pairs in "
            "Python."
        )
    check_safetensors(place, whole=folder)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder / "tokenizer", local_files_only=True, trust_remote_code=False
        )
        encoder = getattr(transformers, kind).from_pretrained(
            place, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise _broken(place, folder, error) from error
    encoder = encoder.eval().to(device)

    def embed(prompts: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(prompts), _PROMPTS):
            tokens = tokenizer(
                list(prompts[start : start + _PROMPTS]), padding="max_length", truncation=True,
                max_length=min(tokenizer.model_max_length, 512), return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                parts.append(encoder(tokens.input_ids.to(device))[0].cpu())
        return torch.cat(parts)

    return embed


def _broken(place: Path, whole: Path, error: Exception) -> UnreadableError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
    reason = reason.replace(str(place), place.name)
    return UnreadableError(
        f"The {place.name} of {whole.name} cannot be loaded: {reason}; expected what "
        "save_pretrained writes."
    )


@contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    """Within, diffusers logs nothing and draws no bars: what matters is raised."""
    logging = library.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
