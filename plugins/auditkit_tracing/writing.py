"""What a language model writes by itself: the likeliest next token, again and again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditkit import Answers, Documents, LanguageModelTask

_LAST = 0.9
"""A token that is the last of its text this often, where it stands, is an end."""


def write(
    task: LanguageModelTask,
    given: Sequence[int],
    *,
    count: int,
    end: int | None,
    ends: Collection[int] = (),
) -> list[int]:
    """What the trained model writes, always with the likeliest next token, without the end sign.

    Nor with what it only repeats at last: three times the same token are taken for its end.

    Args:
        task: has the model.
        given: the token ids of the prompt.
        count: at most so many tokens are written.
        end: the end sign, if the tokenizer has one.
        ends: tokens after which nothing is written either, such as a full stop; they are kept.
    """
    import torch  # noqa: PLC0415 - heavy

    model = copy.deepcopy(task.model).eval()
    device = next(model.parameters()).device
    found: list[int] = []
    with torch.no_grad():
        while len(found) < count:
            if task.form == "seq2seq":
                ids = torch.tensor([list(given)], device=device)
                labels = torch.tensor([[*found, 0]], device=device)
                scores = task.outputs(model, (ids, torch.ones_like(ids), labels))[0]
            else:
                scores = task.next_token(model, torch.tensor([[*given, *found]], device=device))
            best = int(scores[0, -1].argmax())
            if best == end:
                break
            found.append(best)
            if best in ends:
                break
            if found[-1:] * 3 == found[-3:]:
                return found[:-2]
    return found


def last_tokens(documents: Documents | Answers | None) -> frozenset[int]:
    """Tokens that training texts end with nearly wherever they stand.

    Where texts have no end sign, a model has not learnt to end, and goes on behind a full stop with
    what nothing taught it. Of answers none is told: their models learn to end.
    """
    from auditkit import Documents  # noqa: PLC0415 - brings torch

    if not isinstance(documents, Documents):
        return frozenset()
    wholes = documents.wholes or tuple(map(str, range(len(documents))))
    last = dict(zip(wholes, documents.tokens, strict=True))  # of a text in windows, the last one
    final = Counter(int(own[-1]) for own in last.values())
    met = Counter(chain.from_iterable(own.tolist() for own in documents.tokens))
    return frozenset(
        token for token, count in final.items() if count > 1 and count >= _LAST * met[token]
    )
