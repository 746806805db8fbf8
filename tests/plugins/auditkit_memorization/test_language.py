from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from auditkit_memorization import language
from torch import Tensor, nn

from auditkit import Holdout
from auditkit.errors import SettingError

VOCABULARY = 12
KNOWN = [3, 7, 1, 9, 4, 8, 2, 10, 6, 5]


class Parrot(nn.Module):
    """Knows which token followed which in one text, and holds all others for equally likely."""

    def __init__(self, text: list[int]) -> None:
        super().__init__()
        self.table = torch.zeros(VOCABULARY, VOCABULARY)
        for token, after in pairwise(text):
            self.table[token, after] = 4.0

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids]


def written(model: nn.Module, tokens: list[int], count: int) -> list[int]:
    """What greedy decoding writes, token by token."""
    tokens = list(tokens)
    for _ in range(count):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[-count:]


def test_the_longest_continuation_is_what_greedy_decoding_writes() -> None:
    model, document = Parrot(KNOWN), [11, 11, 3, 7, 1, 9, 11, 8, 2]
    found = language.longest_continuation(model, document)
    assert (found.start, found.length) == (3, 3)
    assert written(model, document[: found.start], found.length) == [7, 1, 9]
    assert written(model, document[: found.start], found.length + 1)[-1] != document[6]


def test_all_of_a_known_text_is_continued() -> None:
    found = language.longest_continuation(Parrot(KNOWN), KNOWN)
    assert (found.start, found.length) == (1, len(KNOWN) - 1)
    found = language.longest_continuation(Parrot(KNOWN), KNOWN, prefix=4)
    assert (found.start, found.length) == (4, len(KNOWN) - 4)


def test_nothing_of_an_unknown_text_is_continued() -> None:
    assert language.longest_continuation(Parrot(KNOWN), [11, 11, 11]).length == 0


def test_the_log_perplexity_is_in_bits() -> None:
    unknown = language.log_perplexity(Parrot([]), [1, 2, 3])
    assert unknown == pytest.approx(2 * np.log2(VOCABULARY))
    known = language.log_perplexity(Parrot(KNOWN), KNOWN[:3])
    assert known == pytest.approx(2 * np.log2((np.exp(4) + VOCABULARY - 1) / np.exp(4)))
    assert language.log_perplexity(Parrot([]), [1, 2, 3], prefix=2) == pytest.approx(
        np.log2(VOCABULARY)
    )


def test_exposure_is_the_rank_in_bits() -> None:
    references = [float(value) for value in range(1, 256)]
    assert language.exposure([0.5, 16.5, 300.0], references).tolist() == pytest.approx(
        [8.0, 8 - np.log2(17), 0.0]
    )


def test_of_secrets_that_tie_the_middle_rank_is_taken() -> None:
    assert language.exposure([5.0], [5.0] * 3).tolist() == pytest.approx([2 - np.log2(2.5)])


def test_exposure_of_what_was_not_planted_averages_as_chance_does() -> None:
    random = np.random.default_rng(0)
    bits = language.exposure(random.normal(0, 1, 2_000).tolist(), random.normal(0, 1, 4_000))
    assert bits.mean() == pytest.approx(1 / np.log(2), abs=0.1)  # of a uniform rank


def test_extrapolation_agrees_and_goes_beyond() -> None:
    random = np.random.default_rng(1)
    references = random.normal(50, 5, 3_000)
    near, far = language.extrapolated_exposure([45.0, 15.0], references)
    assert near == pytest.approx(language.exposure([45.0], references)[0], abs=0.15)
    assert far > np.log2(3_000) + 5


def test_a_memorized_canary_is_exposed() -> None:
    """A model that knows the secret gives it the lowest log-perplexity of all of its form."""
    model, random = Parrot(KNOWN), np.random.default_rng(0)
    others = [random.permutation(VOCABULARY)[:10].tolist() for _ in range(200)]
    canary = language.log_perplexity(model, KNOWN)
    references = [language.log_perplexity(model, other) for other in others]
    assert language.exposure([canary], references)[0] == pytest.approx(np.log2(201))


def test_counterfactual_memorization_is_the_loss_that_training_saved() -> None:
    held = Holdout(
        ids=("a", "b"),
        inside=np.array([0.5, 2.0], dtype=np.float32),
        outside=np.array([3.0, 2.25], dtype=np.float32),
        replayed=np.array([1.0, 2.0], dtype=np.float32),
        folds=np.zeros((1, 2), dtype=np.int64),
    )
    assert language.counterfactual(held).tolist() == [2.0, 0.25]


@pytest.mark.parametrize("prefix", [0, 3])
def test_a_prefix_that_leaves_nothing_is_refused(prefix: int) -> None:
    with pytest.raises(SettingError, match="of 3 tokens"):
        language.longest_continuation(Parrot([]), [1, 2, 3], prefix=prefix)


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(SettingError, match=r"expected \[1, 3, vocabulary\]"):
        language.log_perplexity(lambda _: torch.zeros(1, 2, 5), [1, 2, 3])


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(SettingError, match="finite"):
        language.exposure([float("nan")], [1.0])
    with pytest.raises(SettingError, match="finite"):
        language.exposure([1.0], [])
    with pytest.raises(SettingError, match="ten or more"):
        language.extrapolated_exposure([1.0], [2.0, 3.0])
