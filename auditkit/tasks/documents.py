"""Documents of different lengths as a data set: padded together, padding not counted."""

from __future__ import annotations

import copy
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
        wholes: where documents are parts of longer texts, the name of the text each is a part of.

    Raises:
        PoolError: no documents, or one without a token to predict.
    """

    def __init__(
        self,
        tokens: Sequence[Sequence[int]],
        *,
        prompts: Sequence[int] | None = None,
        pad: int = 0,
        wholes: Sequence[str] | None = None,
    ) -> None:
        self.tokens = [np.asarray(own, dtype=np.int64) for own in tokens]
        self.prompts = [0] * len(self.tokens) if prompts is None else list(prompts)
        self.pad, self.wholes = pad, _checked_wholes(wholes, len(self.tokens))
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

    def selected(self, positions: Positions) -> Documents:
        """The documents at `positions`, as documents, in that order."""
        places, found = [int(position) for position in positions], copy.copy(self)
        found.tokens = [self.tokens[place] for place in places]
        found.prompts = [self.prompts[place] for place in places]
        if self.wholes is not None:
            found.wholes = tuple(self.wholes[place] for place in places)
        return found

    def counted(self, position: int) -> range:
        """Which tokens of a document are predicted, in order: those that changes are told of."""
        return range(max(self.prompts[position], 1), len(self.tokens[position]))


class Answers:
    """What a model is given and what it is to answer, for `LanguageModelTask(form="seq2seq")`.

    Batches are (token ids, attention mask, labels), padded on the right; padding is neither seen
    nor predicted.

    Args:
        inputs: the token ids of what is given, for each example.
        answers: the token ids of its answer.
        pad: the token to pad with.

    Raises:
        PoolError: no examples, another number of answers, or an input or answer without tokens.
    """

    def __init__(
        self,
        inputs: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        *,
        pad: int = 0,
    ) -> None:
        self.inputs = [np.asarray(own, dtype=np.int64) for own in inputs]
        self.answers = [np.asarray(own, dtype=np.int64) for own in answers]
        self.pad = pad
        if not self.inputs or len(self.inputs) != len(self.answers):
            raise PoolError(
                f"There are {len(self.inputs)} inputs and {len(self.answers)} answers: give at "
                "least one input, and one answer for each."
            )
        for place, pair in enumerate(zip(self.inputs, self.answers, strict=True)):
            if not all(map(len, pair)):
                raise PoolError(
                    f"Example {place} has {len(pair[0])} tokens and an answer of {len(pair[1])}: "
                    "expected at least one token of each."
                )

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, position: int) -> tuple[Tokens, Tokens, Tokens]:
        tokens, mask, labels = self.rows(np.array([position]))
        return tokens[0], mask[0], labels[0]

    def rows(self, positions: Positions) -> tuple[Tokens, Tokens, Tokens]:
        """Token ids and their mask, int64 [example, token], and labels, int64 [example, answer]."""
        chosen = [int(position) for position in positions]
        tokens = _padded([self.inputs[place] for place in chosen], self.pad)
        mask = _padded([np.ones_like(self.inputs[place]) for place in chosen], 0)
        return tokens, mask, _padded([self.answers[place] for place in chosen], NOT_COUNTED)

    def selected(self, positions: Positions) -> Answers:
        """The examples at `positions`, as answers, in that order."""
        places, found = [int(position) for position in positions], copy.copy(self)
        found.inputs = [self.inputs[place] for place in places]
        found.answers = [self.answers[place] for place in places]
        return found

    def counted(self, position: int) -> range:
        """Which tokens of an answer are predicted, in order: all of them."""
        return range(len(self.answers[position]))


def _padded(rows: Sequence[Tokens], pad: int) -> Tokens:
    table = np.full((len(rows), max(map(len, rows))), pad, dtype=np.int64)
    for place, own in enumerate(rows):
        table[place, : len(own)] = own
    return table


def _checked_wholes(wholes: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    if wholes is not None and len(wholes) != count:
        raise PoolError(
            f"There are {len(wholes)} names of whole texts for {count} documents: give one for "
            "each document."
        )
    return None if wholes is None else tuple(wholes)
