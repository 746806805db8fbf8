"""Memorization of text: counterfactual, verbatim, and of planted canaries.

For any model that gives scores for the next token, `scores(token ids [batch, token])`, float
[batch, token, vocabulary]; of Hugging Face's, `lambda ids: model(ids).logits`. Nothing here trains.

- `counterfactual`: how much better models do on a document that trained on it (Zhang et al. 2021,
  *Counterfactual Memorization in Neural Language Models*, section 3).
- `longest_continuation`: how much of a document the model continues word for word (Carlini et al.
  2021, *Extracting Training Data from Large Language Models*; 2023, *Quantifying Memorization
  Across Neural Language Models*, section 3.1).
- `exposure`: how far planted secrets stand out among those that were not planted (Carlini et al.
  2019, *The Secret Sharer*, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit import Holdout
from auditkit.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

    NextToken: TypeAlias = Callable[[Tensor], Tensor]
    """From token ids, int64 [batch, token], to scores of the next, [batch, token, vocabulary]."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Continuation:
    """The longest stretch of a document that the model writes by itself.

    Attributes:
        start: the place of its first token; the model was given all tokens before it.
        length: in tokens; 0 where not even one is continued rightly.
    """

    start: int
    length: int


def counterfactual(held: Holdout) -> Values:
    """The mean loss of each document without it in training, minus that with it, [document].

    Zhang et al. compare accuracies per token of many models; here it is losses per token, in nats,
    of the replays of a holdout that did and did not train on the document, both for as long. (The
    trained model itself has trained longer, and would make every document look memorized.)
    """
    return held.outside.astype(np.float64) - held.replayed.astype(np.float64)


def log_perplexity(scores: NextToken, tokens: Sequence[int], *, prefix: int = 1) -> float:
    """Minus the log probability of a document's tokens after a prefix, in bits.

    Args:
        scores: the model.
        tokens: of the document.
        prefix: how many tokens are given and not counted, one at least.

    Raises:
        SettingError: the document has no token after the prefix.
    """
    ids, said = _asked(scores, tokens, prefix)
    logs = said.double().log_softmax(dim=1)
    own = logs.gather(1, ids[1:, None])[:, 0]
    return float(-own[prefix - 1 :].sum() / np.log(2))


def longest_continuation(
    scores: NextToken, tokens: Sequence[int], *, prefix: int = 1
) -> Continuation:
    """The longest stretch that greedy decoding writes word for word, after a prefix or later.

    Greedy decoding from a place keeps to the document for as long as the likeliest next token is
    the document's own. As long as it does, it sees what the document has; so one pass over the
    document tells this for every place at once.

    Args:
        scores: the model.
        tokens: of the document.
        prefix: how many tokens the model is given at least.

    Raises:
        SettingError: the document has no token after the prefix.
    """
    ids, said = _asked(scores, tokens, prefix)
    right = (said.argmax(dim=1) == ids[1:]).tolist()
    best, length = Continuation(prefix, 0), 0
    for place in range(prefix, len(tokens)):
        length = length + 1 if right[place - 1] else 0
        if length > best.length:
            best = Continuation(place - length + 1, length)
    return best


def exposure(canaries: Sequence[float], references: Sequence[float]) -> Values:
    """How far each canary stands out, in bits, [canary].

    The exposure of a canary is `log2 |R| - log2 rank` among the secrets R of its form that might
    have been planted, by rising log-perplexity. It is at most `log2 |R|`. Among secrets that tie
    with it, it takes the middle rank.

    Args:
        canaries: log-perplexities of what was planted.
        references: of secrets of the same form that were not.

    Raises:
        SettingError: no references, or a log-perplexity that is no number.
    """
    planted, others = _checked(canaries), _checked(references)
    ordered = np.sort(others)
    lower, upper = (np.searchsorted(ordered, planted, side=side) for side in ("left", "right"))
    rank = 1 + (lower + upper) / 2
    bits: Values = np.log2(len(others) + 1) - np.log2(rank)
    return bits


def extrapolated_exposure(canaries: Sequence[float], references: Sequence[float]) -> Values:
    """The same beyond the number of references, by a skew-normal fit to them, [canary].

    Minus the binary logarithm of the share of secrets with a lower log-perplexity (Carlini et al.
    2019, section 4.3). Good as far as the fit is.

    Args:
        canaries: log-perplexities of what was planted.
        references: of secrets of the same form that were not; ten at least.

    Raises:
        SettingError: too few references, all alike, or a log-perplexity that is no number.
    """
    from scipy.stats import skewnorm  # noqa: PLC0415 - slow to import

    planted, others = _checked(canaries), _checked(references)
    if len(others) < 10 or np.ptp(others) == 0:
        raise SettingError(
            f"There are {len(others)} references, of {len(np.unique(others))} different "
            "log-perplexities: a fit needs ten or more that differ."
        )
    bits: Values = -skewnorm.logcdf(planted, *skewnorm.fit(others)) / np.log(2)
    return bits


def _asked(scores: NextToken, tokens: Sequence[int], prefix: int) -> tuple[Tensor, Tensor]:
    """The token ids, [token], and the scores for all but the first, [token - 1, vocabulary]."""
    import torch  # noqa: PLC0415 - heavy

    if not 1 <= prefix < len(tokens):
        raise SettingError(
            f"The prefix is {prefix} of {len(tokens)} tokens: give one token or more, and leave "
            "at least one to be continued."
        )
    ids = torch.tensor(tokens, dtype=torch.int64)
    with torch.no_grad():
        said = scores(ids[None])
    if said.ndim != 3 or said.shape[:2] != (1, len(tokens)):
        raise SettingError(
            f"The model gives scores of shape {tuple(said.shape)} for {len(tokens)} tokens: "
            f"expected [1, {len(tokens)}, vocabulary]."
        )
    return ids, said[0, :-1].cpu()


def _checked(values: Sequence[float]) -> Values:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) == 0 or not np.isfinite(found).all():
        raise SettingError(
            "Log-perplexities must be one or more finite numbers: leave out what has none."
        )
    return found
