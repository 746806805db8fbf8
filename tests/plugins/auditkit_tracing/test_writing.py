from __future__ import annotations

import torch
from auditkit_tracing.writing import last_tokens, write
from torch import Tensor, nn

from auditkit import Answers, Documents, LanguageModelTask


class Next(nn.Module):
    """After each token, the next higher one is likeliest; after the last one, itself."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.eye(size).roll(1, dims=1))
        with torch.no_grad():
            self.scores[-1] = torch.eye(size)[-1]

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scores[tokens]


def test_writing_ends_at_the_end_sign_at_ends_and_where_it_repeats() -> None:
    task = LanguageModelTask(Next(8))
    assert write(task, [0], count=4, end=None) == [1, 2, 3, 4]
    assert write(task, [0], count=9, end=3) == [1, 2]
    assert write(task, [0], count=9, end=None, ends={3}) == [1, 2, 3]
    assert write(task, [5], count=9, end=None) == [6, 7]


def test_tokens_that_texts_end_with_nearly_wherever_they_stand() -> None:
    assert last_tokens(Documents([[1, 2, 9], [3, 9], [2, 1, 9], [2, 1], [1, 4]])) == {9}
    parts = Documents([[1, 2], [3, 9], [1, 2], [4, 9]], wholes=["a", "a", "b", "b"])
    assert last_tokens(parts) == {9}  # not 2, where a window ends
    assert not last_tokens(Documents([[1, 9], [9, 2], [3, 9]]))
    assert not last_tokens(Answers([[1, 9], [2, 9]], [[9], [9]]))
    assert not last_tokens(None)
