"""Losses and measures of documents against torch's own, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import Answers, Documents, LanguageModelTask
from auditkit.errors import LabelError, PoolError, TaskError
from auditkit.subject import NOT_COUNTED


class Fixed(nn.Module):
    """The same scores for every document of a length."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores = nn.Parameter(torch.randn(4, 3))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.scores[: tokens.shape[1]].expand(len(tokens), -1, -1)


TASK = LanguageModelTask(Fixed())
BATCH = tuple(
    map(torch.from_numpy, Documents([[0, 1, 2], [2, 2, 1, 0]], prompts=[0, 2]).rows(np.arange(2)))
)


def logs() -> Tensor:
    return TASK.model.scores.log_softmax(dim=1).detach()


def test_labels_stand_at_their_tokens_and_are_predicted_from_those_before() -> None:
    own = logs()
    first = [-own[0, 1], -own[1, 2]]
    second = [-own[1, 1], -own[2, 0]]
    expected = torch.stack([torch.stack(first), torch.stack(second)])
    torch.testing.assert_close(TASK.loss(TASK.model, BATCH).detach(), expected.mean(dim=1))
    torch.testing.assert_close(TASK.measure(TASK.model, BATCH).detach(), expected.sum(dim=1))


def test_the_measure_of_a_token_is_its_negative_margin() -> None:
    values, counted = TASK.token_measure(TASK.model, BATCH)
    assert counted.tolist() == [[True, True, False], [False, True, True]]
    chance = logs()[0].exp()[1]
    torch.testing.assert_close(values[0, 0].detach(), torch.log(1 - chance) - torch.log(chance))


def test_a_token_the_model_is_sure_of_has_a_finite_measure() -> None:
    model = Fixed()
    with torch.no_grad():
        model.scores[:, 1] += 200
    values, _ = TASK.token_measure(model, BATCH)
    assert values.isfinite().all()


def test_documents_are_padded_and_padding_is_not_counted() -> None:
    tokens, labels = Documents([[5, 6], [7, 8, 9]], prompts=[1, 0], pad=3).rows(np.array([1, 0]))
    assert tokens.tolist() == [[7, 8, 9], [5, 6, 3]]
    assert labels.tolist() == [[7, 8, 9], [NOT_COUNTED, 6, NOT_COUNTED]]


@pytest.mark.parametrize(
    ("tokens", "prompts", "said"),
    [
        ([], None, "0 documents"),
        ([[1, 2]], [0, 0], "2 prompts"),
        ([[1, 2], [1]], None, "Document 1 has 1 tokens"),
        ([[1, 2, 3]], [3], "of which 3 are a prompt"),
    ],
)
def test_documents_without_anything_to_predict_are_refused(
    tokens: list[list[int]], prompts: list[int] | None, said: str
) -> None:
    with pytest.raises(PoolError, match=said):
        Documents(tokens, prompts=prompts)


def test_tokens_outside_the_vocabulary_are_refused() -> None:
    tokens = torch.tensor([[0, 3]])
    with pytest.raises(LabelError, match=r"token is 3 .* 3 tokens: the tokenizer"):
        TASK.loss(TASK.model, (tokens, tokens))


def test_a_batch_with_nothing_to_predict_is_refused() -> None:
    with pytest.raises(TaskError, match="no token to predict"):
        TASK.loss(TASK.model, (torch.zeros(1, 3).long(), torch.full((1, 3), NOT_COUNTED)))


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(
        TaskError, match=r"scores of shape \(2, 2, 3\) for tokens of shape \(2, 4\)"
    ):
        LanguageModelTask(Fixed(), form="seq2seq").outputs(_Keyword(), (BATCH[0][:, :3], BATCH[1]))


class _Keyword(nn.Module):
    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        return torch.zeros(len(input_ids), 2, 3)


def test_answers_are_padded_and_masked() -> None:
    answers = Answers([[1, 2, 0], [2]], [[0], [1, 2]], pad=7)
    tokens, mask, labels = answers.rows(np.arange(2))
    assert tokens.tolist() == [[1, 2, 0], [2, 7, 7]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert labels.tolist() == [[0, NOT_COUNTED], [1, 2]]
    assert list(answers.counted(1)) == [0, 1]
    assert [part.tolist() for part in answers[1]] == [[2], [1], [1, 2]]


@pytest.mark.parametrize(
    ("inputs", "answers", "said"),
    [
        ([], [], "0 inputs and 0 answers"),
        ([[1]], [[1], [2]], "1 inputs and 2 answers"),
        ([[1], [2]], [[1], []], "Example 1 has 1 tokens and an answer of 0"),
    ],
)
def test_answers_that_cannot_be_learnt_are_refused(
    inputs: list[list[int]], answers: list[list[int]], said: str
) -> None:
    with pytest.raises(PoolError, match=said):
        Answers(inputs, answers)


def test_documents_may_be_parts_of_wholes() -> None:
    assert Documents([[0, 1], [1, 2]], wholes=["a", "a"]).wholes == ("a", "a")
    with pytest.raises(PoolError, match="1 names of whole texts for 2 documents"):
        Documents([[0, 1], [1, 2]], wholes=["a"])


def test_batches_of_another_number_of_parts_are_refused() -> None:
    answering = LanguageModelTask(Fixed(), form="seq2seq")
    part = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(TaskError, match="A batch holds 4 parts"):
        answering.loss(answering.model, (part, part, part, part))
