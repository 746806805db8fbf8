from __future__ import annotations

import torch

from auditkit.testing import tiny_subject
from auditkit.training import evaluate


def test_the_model_has_learnt_something() -> None:
    subject = tiny_subject()
    _, accuracy = evaluate(subject.task.model, subject.task, subject.train)
    assert accuracy is not None
    assert accuracy > 0.5
    assert len(subject.train) == 240
    assert subject.queries is None


def test_queries_are_other_digits_than_the_train_pool() -> None:
    subject = tiny_subject(examples=50, queries=10, epochs=1)
    assert subject.queries is not None
    assert len(subject.queries) == 10
    assert not set(subject.queries.ids) & set(subject.train.ids)


def test_a_task_may_have_real_valued_outputs() -> None:
    subject = tiny_subject(examples=50, queries=5, likelihood="gaussian", epochs=1)
    assert subject.task.likelihood == "gaussian"
    inputs, targets = subject.train[0]  # type: ignore[misc]
    loss = subject.task.loss(
        subject.task.model, (torch.as_tensor(inputs)[None], torch.as_tensor(targets)[None])
    )
    assert loss.shape == (1,)
