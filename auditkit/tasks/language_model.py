"""Language models: loss per document, measure per query, margin per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from auditkit.errors import LabelError, TaskError
from auditkit.subject import NOT_COUNTED, Task
from auditkit.tasks.forms import predict, split

if TYPE_CHECKING:
    from auditkit.subject import Batch

Form: TypeAlias = Literal["causal", "seq2seq"]
"""Whether a model reads what it is to continue, or writes an answer to what it has read."""


class Tokenizer(Protocol):
    """From texts to token ids and back; fast tokenizers of Hugging Face are of this form."""

    def encode(self, text: str) -> Sequence[int]:
        """The token ids of a text, with whatever stands around every text."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of some token ids."""


class LanguageModelTask(Task):
    """A model that gives scores for the next token, trained with cross-entropy on documents.

    Batches are (token ids, labels) pairs, (token ids, attention mask, labels), or mappings as
    Hugging Face has them: `input_ids`, `attention_mask` where the model needs it, and `labels`. A
    label of -100 is not counted: that is how padding and the prompt of a query are left out. For a
    causal model, labels stand at their own tokens and are predicted from those before.

    Args:
        model: the trained model: it gives scores [batch, token, vocabulary], or an output with
            `.logits`.
        form: `causal`, or `seq2seq` for a model that is given `labels` and shifts them itself.
        tokenizer: turns texts into token ids; for audits that are given prompts as text.
        context: how many tokens the model can read; None where that is not known.
    """

    measure_name = "log-probability"
    likelihood = "tokens"

    def __init__(
        self,
        model: nn.Module,
        *,
        form: Form = "causal",
        tokenizer: Tokenizer | None = None,
        context: int | None = None,
    ) -> None:
        super().__init__(model)
        self.form, self.tokenizer, self.context = form, tokenizer, context

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores, float [batch, token, vocabulary], and the tokens they are for, int64.

        Raises:
            TaskError: scores or labels of another shape, or a document without a token to predict.
            LabelError: a label that is not in the model's vocabulary.
        """
        inputs, labels = split(batch, task=type(self).__name__)
        if self.form == "seq2seq":
            scores = predict(model, {**_named(inputs), "labels": labels})
            targets = labels
        else:
            scores, targets = self.next_token(model, inputs)[:, :-1], labels[:, 1:]
        if scores.ndim != 3 or scores.shape[:2] != targets.shape:
            raise TaskError(
                f"The model gives scores of shape {tuple(scores.shape)} for tokens of shape "
                f"{tuple(targets.shape)}: expected [batch, token, vocabulary] and [batch, token]."
            )
        _check(targets, vocabulary=scores.shape[2])
        return scores, targets

    def next_token(self, model: nn.Module, inputs: Batch) -> Tensor:
        """Scores for the token after each of the inputs', float [batch, token, vocabulary]."""
        return predict(model, _named(inputs) if isinstance(inputs, tuple) else inputs)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy per document over its counted tokens, in nats, [batch]."""
        losses, counted = self._token_losses(model, batch)
        return (losses * counted).sum(dim=1) / counted.sum(dim=1)

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        """Minus the log-probability of all counted tokens, in nats, [batch]."""
        losses, counted = self._token_losses(model, batch)
        return (losses * counted).sum(dim=1)

    def token_measure(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The negative margin of each token, in nats, and which count: both [batch, token].

        `log(1 - p) - log p` for the token's probability p, as for classes.
        """
        losses, counted = self._token_losses(model, batch)
        return losses + torch.log(-torch.expm1(-losses.clamp(min=_LEAST))), counted.bool()

    def _token_losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        scores, targets = self.outputs(model, batch)
        losses = functional.cross_entropy(
            scores.flatten(end_dim=1).float(), targets.flatten(),
            ignore_index=NOT_COUNTED, reduction="none",
        )  # fmt: skip
        return losses.view(targets.shape), (targets != NOT_COUNTED).to(losses.dtype)


_LEAST = 1e-6
"""A token of a smaller loss counts as one of this: its margin would be rounding."""


def _named(inputs: Batch) -> Mapping[str, Batch]:
    if isinstance(inputs, Mapping):
        return inputs
    if isinstance(inputs, tuple):
        if len(inputs) != 2:
            raise TaskError(
                f"A batch holds {len(inputs) + 1} parts: expected (token ids, labels), (token ids, "
                "attention mask, labels), or a mapping with the names the model's arguments have."
            )
        return {"input_ids": inputs[0], "attention_mask": inputs[1]}
    return {"input_ids": inputs}


def _check(targets: Tensor, *, vocabulary: int) -> None:
    counted = targets != NOT_COUNTED
    if not bool(counted.any(dim=1).all()):
        raise TaskError(
            "A document has no token to predict: give each at least two tokens, and a label other "
            f"than {NOT_COUNTED} to one after the first."
        )
    wrong = targets[counted & ((targets < 0) | (targets >= vocabulary))]
    if len(wrong):
        raise LabelError(
            f"A token is {int(wrong[0])} and the model gives scores for {vocabulary} tokens: the "
            "tokenizer and the model do not belong together."
        )
