"""Documents of different lengths as a data set: padded together, padding not counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from auditkit.errors import PoolError
from auditkit.pool import Positions
from auditkit.subject import NOT_COUNTED

Tokens = npt.NDArray[np.int64]


class Documents:
    """Token ids and labels per document, for `LanguageModelTask`; batches are padded on the right.

    Args:
        tokens: the token ids of each document.
        prompts: how many tokens at the beginning of each are given and not predicted; none by
            default.
        pad: the token to pad with; it is never predicted.

    Raises:
        PoolError: no documents, or one without a token to predict.
    """

    def __init__(
        self,
        tokens: Sequence[Sequence[int]],
        *,
        prompts: Sequence[int] | None = None,
        pad: int = 0,
    ) -> None:
        self.tokens = [np.asarray(own, dtype=np.int64) for own in tokens]
        self.prompts = [0] * len(self.tokens) if prompts is None else list(prompts)
        self.pad = pad
        if not self.tokens or len(self.prompts) != len(self.tokens):
            raise PoolError(
                f"There are {len(self.tokens)} documents and {len(self.prompts)} prompts: give at "
                "least one document, and one length of a prompt for each."
            )
        for place, (own, prompt) in enumerate(zip(self.tokens, self.prompts, strict=True)):
            if len(own) <= max(prompt, 1):
                raise PoolError(
                    f"Document {place} has {len(own)} tokens, of which {prompt} are a prompt: "
                    "expected at least one token to predict after the first."
                )

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, position: int) -> tuple[Tokens, Tokens]:
        tokens, labels = self.rows(np.array([position]))
        return tokens[0], labels[0]

    def rows(self, positions: Positions) -> tuple[Tokens, Tokens]:
        """Token ids and labels, both int64 [document, token]."""
        chosen = [int(position) for position in positions]
        width = max(len(self.tokens[place]) for place in chosen)
        tokens = np.full((len(chosen), width), self.pad, dtype=np.int64)
        labels = np.full((len(chosen), width), NOT_COUNTED, dtype=np.int64)
        for row, place in enumerate(chosen):
            own, prompt = self.tokens[place], self.prompts[place]
            tokens[row, : len(own)] = own
            labels[row, prompt : len(own)] = own[prompt:]
        return tokens, labels

    def counted(self, position: int) -> range:
        """Which tokens of a document are predicted, in order: those that changes are told of."""
        return range(max(self.prompts[position], 1), len(self.tokens[position]))
