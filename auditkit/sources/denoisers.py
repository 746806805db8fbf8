"""Diffusion models from a local folder of diffusers: a denoiser, its schedule, what goes around it.

The folder is what `save_pretrained` of a pipeline writes (`unet/`, `scheduler/`, and for latent
models `vae/` or `vqvae/`, for prompts `text_encoder/` and `tokenizer/`), or that of a U-Net alone
with a `scheduler_config.json` in it. Nothing is downloaded, no code in the folder is run, and
pickled weights are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from torch import Tensor, nn

from auditkit.errors import SubjectReferenceError, TaskError, UnreadableError, UsageError
from auditkit.sources.exact import Form
from auditkit.sources.prompts import embedding
from auditkit.sources.weights import (
    check_safetensors,
    check_undamaged,
    loading_part,
    settings_of,
    sound,
)
from auditkit.tasks.schedule import Schedule

if TYPE_CHECKING:
    from types import ModuleType

_UNETS = ("UNet2DModel", "UNet2DConditionModel")
_ENCODERS = {"vae": "AutoencoderKL", "vqvae": "VQModel"}


class _Config(Protocol):
    """What is read of a model's configuration."""

    in_channels: int
    latent_channels: int
    cross_attention_dim: int | Sequence[int]
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


def _kind(folder: Path, known: Sequence[str], *, what: str) -> str:
    found = str(settings_of(folder / "config.json").get("_class_name"))
    if found not in known:
        raise TaskError(
            f"The {what} in {folder.name} is a {found}: expected one of {', '.join(known)}; for "
            "others, give a subject in Python with auditkit.DiffusionTask."
        )
    return found


def _schedule(folder: Path, library: ModuleType) -> Schedule:
    inside = folder / "scheduler"
    place = inside if inside.is_dir() else folder
    name = str(settings_of(place / "scheduler_config.json").get("_class_name"))
    kind: object = getattr(library, name, None)
    if not (isinstance(kind, type) and issubclass(kind, library.SchedulerMixin)):
        raise UnreadableError(f"The scheduler of {folder.name} is a {name}, which is not known.")
    with _quiet(library), loading_part(place, folder):
        scheduler = kind.from_pretrained(  # type: ignore[attr-defined]  # as all schedulers
            place, local_files_only=True
        )
    return Schedule.of(scheduler)


def _weights(library: ModuleType, kind: str, place: Path, *, whole: Path) -> nn.Module:
    """A part of a pipeline, whole, from safetensors alone."""
    check_safetensors(place, whole=whole)
    check_undamaged(place, whole=whole)
    with _quiet(library), loading_part(place, whole):
        model, about = getattr(library, kind).from_pretrained(
            place, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False,
            output_loading_info=True,
        )  # fmt: skip
    return sound(model, about["missing_keys"], place, whole=whole)


def _encoder(folder: Path, library: ModuleType) -> nn.Module | None:
    for inside, kind in _ENCODERS.items():
        if (folder / inside).is_dir():
            _kind(folder / inside, (kind,), what="autoencoder")
            return _weights(library, kind, folder / inside, whole=folder)
    return None


def _form(config: _Config, encoder: nn.Module | None) -> Form:
    """What images the model makes, by its size and its autoencoder's."""
    size = config.sample_size
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    known = size is not None
    if len(sides) != 2 or (known and not all(isinstance(own, int) and own > 0 for own in sides)):
        raise UnreadableError(
            f"The denoiser's configuration has {size!r} for sample_size: expected a side in "
            "pixels, or height and width."
        )
    height, width = cast("list[int]", sides)
    channels, times = config.in_channels, 1
    if encoder is not None:
        own = cast(_Config, encoder.config)
        if own.latent_channels != channels:
            raise TaskError(
                f"The denoiser takes {channels} channels and its autoencoder gives "
                f"{own.latent_channels}: expected as many; for a denoiser that is given more than "
                "the noisy image, write a subject in Python with auditkit.DiffusionTask."
            )
        channels, times = own.in_channels, 2 ** (len(own.block_out_channels) - 1)
    if channels not in (1, 3):
        raise TaskError(
            f"The denoiser takes {channels} channels: expected 1 (grey) or 3 (colour), or an "
            "autoencoder beside it; for others, give a subject in Python with "
            "auditkit.DiffusionTask."
        )
    return Form(channels, (width * times, height * times) if known else None)


def _embedding(folder: Path, config: _Config, *, device: str) -> Callable[[Sequence[str]], Tensor]:
    """What turns prompts into the denoiser's conditions, if it takes nothing else.

    Raises:
        TaskError: it takes more.
    """
    kinds = ("addition_embed_type", "class_embed_type", "num_class_embeds")
    more = next((name for name in kinds if getattr(config, name, None)), None)
    if more or (folder / "text_encoder_2").is_dir():
        raise TaskError(
            f"The denoiser in {folder.name} takes more than a prompt "
            f"({more or 'text_encoder_2'}): give a "
            "subject in Python with auditkit.DiffusionTask and a model that closes over the rest."
        )
    projected = getattr(config, "encoder_hid_dim", None)
    return embedding(folder, projected or config.cross_attention_dim, device=device)


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
