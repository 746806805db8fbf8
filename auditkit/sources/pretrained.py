"""Language models with their tokenizers from a local folder, safely.

The folder is one that Hugging Face's `save_pretrained` writes: `config.json`, weights as
safetensors, and a tokenizer; or one of a PEFT adapter, whose base model is a local folder too.
Nothing is downloaded, no code in the folder is run, and pickled weights are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from auditkit.errors import LabelError, SubjectReferenceError, UnreadableError, UsageError
from auditkit.sources.weights import (
    check_finite,
    check_safetensors,
    check_undamaged,
    check_whole,
    loading,
    names_of,
)
from auditkit.tasks.language_model import Form

if TYPE_CHECKING:
    from torch import Tensor, nn

_TOKENIZERS = ("tokenizer*", "*.model", "vocab*", "*.tiktoken", "tekken.json")
"""Names of files that tokenizers are saved in."""

_LONGEST = 1_024
"""The context of a model whose configuration does not say, in tokens."""


class FastTokenizer(Protocol):
    """The part of Hugging Face's tokenizers that is used here."""

    pad_token_id: int | None
    eos_token_id: int | None

    def __len__(self) -> int: ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids."""


@dataclass(frozen=True)
class Loaded:
    """A language model with its tokenizer.

    Attributes:
        model: in evaluation mode.
        tokenizer: that belongs to it.
        form: whether it continues or answers.
        context: how many tokens it can read.
        adapted: whether only an adapter of it is trainable.
        fresh: gives the model as it was before training: newly initialized, or the base model
            with a new adapter.
    """

    model: nn.Module
    tokenizer: FastTokenizer
    form: Form
    context: int
    adapted: bool
    fresh: Callable[[], nn.Module]


def load_model(folder: Path) -> Loaded:
    """The model and tokenizer in a local folder.

    Raises:
        SubjectReferenceError: there is no such folder.
        UnreadableError: what is in it cannot be loaded, or not safely.
        LabelError: the tokenizer knows more tokens than the model.
        UsageError: transformers, or for an adapter peft, is not installed.
    """
    folder = _checked(folder)
    _check_tokenizer(folder)
    with _loading(folder, "of the model and of its tokenizer"):
        import transformers  # noqa: PLC0415 - an extra, and heavy

        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        model, form, fresh = _model(folder)
        if form == "causal":
            _check_causal(model, folder)
    known = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    if len(tokenizer) > known:
        raise LabelError(
            f"The tokenizer in {folder.name} knows {len(tokenizer)} tokens and the model {known}: "
            "they do not belong together."
        )
    return Loaded(
        model.eval(),
        cast("FastTokenizer", tokenizer),
        form,
        _context(model),
        _is_adapter(folder),
        fresh,
    )


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the model in a local folder, which needs no tokenizer.

    Raises:
        SubjectReferenceError: there is no such folder.
        UnreadableError: what is in it cannot be loaded, or not safely.
        UsageError: transformers, or for an adapter peft, is not installed.
    """
    folder = _checked(folder)
    with _loading(folder, "of the model"):
        return _model(folder)[0].state_dict()


def _checked(folder: Path) -> Path:
    """The folder under its own name, wherever it is given from, if it holds safe weights."""
    if not folder.is_dir():
        raise SubjectReferenceError(
            f"There is no folder {str(folder)!r}: expected the local folder of a Hugging Face "
            "model, with config.json, *.safetensors and for --model a tokenizer."
        )
    folder = folder.resolve()
    check_safetensors(folder)
    check_undamaged(folder)
    return folder


@contextmanager
def _loading(folder: Path, what: str) -> Iterator[None]:
    """Within, what goes wrong is said in a sentence."""
    try:
        import transformers  # noqa: F401, PLC0415 - an extra, and heavy
    except ImportError as error:
        raise UsageError(
            "Language models need the extra `text`: pip install 'auditkit-influence[text]'."
        ) from error
    named, expected = f"The language model in {folder.name}", f"what save_pretrained writes, {what}"
    with without_bars(), loading(named, folder, expected=expected):
        yield


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def _model(folder: Path) -> tuple[nn.Module, Form, Callable[[], nn.Module]]:
    """The model in a folder, its form, and what gives it as it was before training."""
    found = _adapted(folder) if _is_adapter(folder) else _whole(folder)
    check_finite(found[0], folder.name)
    return found


def _check_tokenizer(folder: Path) -> None:
    """Refuse a folder without a tokenizer, of which transformers would make an empty one."""
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        raise UnreadableError(
            f"{folder.name} holds no tokenizer: expected tokenizer.json or the like; save the one "
            "the model was trained with by tokenizer.save_pretrained(...) into the same folder."
        )


@contextmanager
def without_bars() -> Iterator[None]:
    """Within, transformers draws no progress bars and no tables of its own."""
    from transformers.utils import logging  # noqa: PLC0415 - as above

    were_on, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what it would say of weights is checked here
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if were_on:
            logging.enable_progress_bar()


def _whole(folder: Path) -> tuple[nn.Module, Form, Callable[[], nn.Module]]:
    """The model, its form, and what gives a newly initialized one."""
    import transformers  # noqa: PLC0415 - as above

    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    answers = bool(config.is_encoder_decoder)
    kind = transformers.AutoModelForSeq2SeqLM if answers else transformers.AutoModelForCausalLM
    model, found = kind.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # said below, in a sentence
        output_loading_info=True,
    )
    _check_shapes(found["mismatched_keys"], folder)
    check_whole(
        found["missing_keys"],
        folder.name,
        advice=f"give the folder of a causal or sequence-to-sequence language model (here a "
        f"{type(model).__name__}) with all its weights",
    )
    model.config.use_cache = False

    def fresh() -> nn.Module:
        made = kind.from_config(config)
        made.config.use_cache = False
        return _in_single(made)

    return _in_single(model), "seq2seq" if answers else "causal", fresh


def _check_shapes(
    mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]], folder: Path
) -> None:
    """Refuse weights of another shape, in whose place there would be random numbers.

    Raises:
        UnreadableError: a weight of another shape.
    """
    for name, here, there in mismatched:
        raise UnreadableError(
            f"The weight {name!r} in {folder.name} has shape {list(here)}, and its config.json "
            f"says {list(there)}: they do not belong together; save the model again."
        )


def _check_causal(model: nn.Module, folder: Path) -> None:
    """Refuse a model that sees the token it is to predict, such as one of masked words.

    Raises:
        UnreadableError: scores for a token depend on a later one.
    """
    import torch  # noqa: PLC0415 - as above

    with torch.no_grad():
        one, other = model(input_ids=torch.tensor([[0, 0, 0], [0, 0, 1]])).logits[:, :2].float()
    if not torch.allclose(one, other, rtol=0, atol=1e-5 * float(one.abs().max())):
        raise UnreadableError(
            f"The model in {folder.name} ({type(model).__name__}) sees the tokens it is to "
            "predict, as one of masked words does: give a model that writes from left to right, or "
            "a sequence-to-sequence model."
        )


def _in_single(model: nn.Module) -> nn.Module:
    """The model in single precision, if it is kept in half.

    The engine works in single precision anyway, and training in bfloat16 would round the steps of a
    usual learning rate away.
    """
    import torch  # noqa: PLC0415 - as above

    halves = (torch.bfloat16, torch.float16)
    return model.float() if any(own.dtype in halves for own in model.parameters()) else model


def _adapted(folder: Path) -> tuple[nn.Module, Form, Callable[[], nn.Module]]:
    """A base model with an adapter; fresh is the base with a new one."""
    import peft  # noqa: PLC0415 - an extra

    settings = peft.PeftConfig.from_pretrained(str(folder), local_files_only=True)
    base = Path(str(settings.base_model_name_or_path))
    if not base.is_dir():
        raise OSError(f"the base model {str(base)!r} of the adapter is no local folder")
    check_safetensors(base)
    model, form, _ = _whole(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # said below
        adapter = peft.PeftModel.from_pretrained(
            model, folder, is_trainable=True, local_files_only=True, use_safetensors=True
        )
    missing = peft.get_peft_model_state_dict(adapter).keys() - names_of(folder)
    check_whole(missing, folder.name, advice="save the adapter again")
    settings.inference_mode = False

    def fresh() -> nn.Module:
        with without_bars():
            return cast("nn.Module", peft.get_peft_model(_whole(base)[0], settings))

    return adapter, form, fresh


def _context(model: nn.Module) -> int:
    config = model.config
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        length = getattr(config, name, None)
        if isinstance(length, int) and length > 1:
            return length
    return _LONGEST


def padding(tokenizer: FastTokenizer) -> int:
    """A token to pad with: the tokenizer's own, or any, since padding never counts."""
    found = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in found if token is not None)
