from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from auditkit_memorization.correctness import (
    Correctness,
    retrained_halves,
    retrained_without,
)
from auditkit_memorization.settings import Context

from auditkit import fingerprint
from tests.plugins.auditkit_memorization.conftest import Digits

MakeContext = Callable[..., Context]


def test_the_measure_is_below_zero_where_the_prediction_is_right(digits: Digits) -> None:
    task, queries = digits.subject.required_task(), digits.subject.queries
    assert queries is not None
    rows = [queries[place] for place in range(len(queries))]
    batch = (torch.tensor(np.stack([r[0] for r in rows])), torch.tensor([r[1] for r in rows]))
    scores, labels = task.outputs(task.model, batch)
    with torch.no_grad():
        measure = Correctness(task).measure(task.model, batch)
    assert ((measure < 0) == (scores.argmax(1) == labels)).all()


def test_all_else_is_the_tasks(digits: Digits) -> None:
    task = digits.subject.required_task()
    own, batch = Correctness(task), (torch.rand(3, 64), torch.tensor([0, 1, 2]))
    assert own.class_names == task.class_names
    assert torch.equal(own.loss(task.model, batch), task.loss(task.model, batch))
    assert torch.equal(own.outputs(task.model, batch)[0], task.outputs(task.model, batch)[0])
    assert own.with_targets(batch, torch.tensor([2, 1, 0]))[1].tolist() == [2, 1, 0]
    assert torch.equal(
        own.loss_and_outputs(task.model, batch)[0], task.loss_and_outputs(task.model, batch)[0]
    )


def test_halves_fit_what_they_hold_and_not_the_wrong_labels_they_do_not(
    digits: Digits, make_context: MakeContext
) -> None:
    context = make_context(digits.subject)
    before = fingerprint.of_weights(context.task.model)
    halves = retrained_halves(context, count=2)
    assert (halves.members.sum(axis=1) == 250).all()
    assert halves.right[halves.members].mean() > 0.9
    assert halves.right[:, digits.wrong][~halves.members[:, digits.wrong]].mean() < 0.2
    assert fingerprint.of_weights(context.task.model) == before


def test_finished_trainings_are_not_done_again(digits: Digits, make_context: MakeContext) -> None:
    context = make_context(digits.subject)
    first = retrained_halves(context, count=1)
    [path] = (context.work() / "halves").glob("*.npy")
    np.save(path, -np.ones(500, dtype=np.float32))
    again = retrained_halves(context, count=1)
    assert again.right.all()
    assert not first.right.all()


def test_each_seed_leaves_its_own_groups_out(digits: Digits, make_context: MakeContext) -> None:
    context, subject = make_context(digits.subject), digits.subject
    assert subject.queries is not None
    wrong, few = np.flatnonzero(digits.wrong), np.arange(400)
    done = retrained_without(
        context,
        subject.train,
        subject.queries,
        [{"wrong": wrong, "many": few}, {"wrong": wrong, "many": few + 100}],
        context.work(),
    )
    assert done.everything.shape == (2, 120)
    assert done.left_out["wrong"].mean() > done.everything.mean()
    assert done.left_out["many"].mean() < done.everything.mean()
    assert (done.left_out["many"][0] != done.left_out["many"][1]).any()
    assert done.everything.mean() == pytest.approx(0.75, abs=0.2)
