from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from auditkit_tracing.prompts import Prompt
from auditkit_tracing.tokens import Tokenized, check_length, prompt_tokens, tokenized

from auditkit import LanguageModelTask
from auditkit.errors import SettingError

UNKNOWN = 999


class Letters:
    """One token per letter, with marks around every text, as some tokenizers set them."""

    unk_token_id = UNKNOWN

    def __init__(self, begin: Sequence[int] = (), end: Sequence[int] = ()) -> None:
        self.begin, self.end = list(begin), list(end)

    def encode(self, text: str) -> Sequence[int]:
        own = [ord(sign) if sign.isascii() else UNKNOWN for sign in text]
        return [*self.begin, *own, *self.end]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(token) for token in token_ids if token > 9)


def asked(text: str, completion: str, tokenizer: Letters, *, answers: bool = False) -> Tokenized:
    return tokenized(Prompt("p", text, completion, "p"), completion, tokenizer, answers=answers)


@pytest.mark.parametrize("tokenizer", [Letters(), Letters(begin=[1]), Letters([1], [2])])
def test_a_completion_begins_where_the_prompt_ends(tokenizer: Letters) -> None:
    own = asked("the sea", "is", tokenizer)
    assert own.prompt == [*tokenizer.begin, *map(ord, "the sea")]
    assert own.completion == list(map(ord, " is"))  # no sign of an end
    assert own.text == " is"


@pytest.mark.parametrize(
    ("prompt", "completion", "text"),
    [
        ("sea", "is", " is"),
        ("sea.", "It", " It"),
        ("sea ", "is", "is"),
        ("sea", " is", " is"),
        ("sea", ", too", ", too"),
        ("(", "sea", "sea"),
        ("sea: ", "7", "7"),
        ('"', "sea", "sea"),
    ],
)
def test_words_do_not_run_together(prompt: str, completion: str, text: str) -> None:
    assert asked(prompt, completion, Letters()).text == text


def test_scripts_without_spaces_get_none() -> None:
    tokenizer = Letters()
    tokenizer.unk_token_id = -1
    assert asked("海は", "青い", tokenizer).text == "青い"


def test_an_answer_is_a_text_of_its_own() -> None:
    own = asked("sea?", "blue", Letters(end=[2]), answers=True)
    assert own == Tokenized([*map(ord, "sea?"), 2], list(map(ord, "blue")), "blue")


def test_what_has_no_tokens_or_unknown_ones_is_refused() -> None:
    with pytest.raises(SettingError, match="has a part that the tokenizer does not know"):
        asked("sea", "zürich", Letters())
    with pytest.raises(SettingError, match="has no tokens"):
        prompt_tokens(Prompt("p", "", None, "p"), Letters(), answers=False)
    with pytest.raises(SettingError, match="has no tokens of its own"):
        asked("sea", "", Letters())


def test_the_context_is_not_exceeded() -> None:
    prompt = Prompt("p", "sea", "is", "p")
    task = LanguageModelTask(torch.nn.Embedding(9, 9), context=4)
    check_length(prompt, Tokenized([1, 2, 3], [4], "x"), task)
    with pytest.raises(SettingError, match="are 5 tokens long, and the model reads 4"):
        check_length(prompt, Tokenized([1, 2, 3], [4, 5], "x"), task)
    answering = LanguageModelTask(torch.nn.Embedding(9, 9), form="seq2seq", context=4)
    check_length(prompt, Tokenized([1, 2, 3], [4, 5], "x"), answering)
    with pytest.raises(SettingError, match="is 5 tokens long and its answer 1"):
        check_length(prompt, Tokenized([1] * 5, [4], "x"), answering)
    unknown = LanguageModelTask(torch.nn.Embedding(9, 9))
    check_length(prompt, Tokenized([1] * 50, [4], "x"), unknown)
