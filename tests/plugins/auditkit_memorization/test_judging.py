from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from auditkit_memorization.judging import judge
from auditkit_memorization.settings import Context

from auditkit import errors
from tests.plugins.auditkit_memorization.conftest import RECIPE, Digits

MakeContext = Callable[..., Context]


def test_a_recipe_that_does_not_make_the_model_is_warned_of(
    digits: Digits, make_context: MakeContext
) -> None:
    subject = replace(digits.subject, recipe=replace(RECIPE, epochs=2, learning_rate=0.01))
    context = make_context(subject, retrainings=1, repeats=1, epochs=4)
    judge(context)
    assert any("perhaps not how the model was trained" in note.text for note in context.notes)


def test_one_repeat_cannot_say_how_reliable_it_is(
    digits: Digits, make_context: MakeContext
) -> None:
    context = make_context(digits.subject, retrainings=0, repeats=1, epochs=4)
    judged = judge(context)
    assert judged.reliability is None
    assert judged.estimate.probability is None
    assert len(judged.tables) == 1
    assert context.notes == []


def test_more_folds_than_examples_are_refused(digits: Digits, make_context: MakeContext) -> None:
    few = replace(digits.subject, train=digits.subject.train.subset(range(40, 44)))
    with pytest.raises(errors.SettingError, match="for 4 examples"):
        judge(make_context(few, folds=5))


def test_names_that_do_not_fit_the_classes_are_refused(
    digits: Digits, make_context: MakeContext
) -> None:
    context = make_context(digits.subject, retrainings=0, repeats=1, epochs=1)
    context.task.class_names = ("even", "odd")
    try:
        with pytest.raises(errors.LabelError, match="2 class names"):
            judge(context)
    finally:
        context.task.class_names = tuple(f"digit {k}" for k in range(10))


def test_repeats_have_other_folds(digits: Digits, make_context: MakeContext) -> None:
    judged = judge(make_context(digits.subject, retrainings=0, repeats=2, epochs=4))
    first, second = (table.outside for table in judged.tables)
    assert (np.abs(first - second) > 0).all()
    assert judged.reliability is not None
    assert judged.reliability > 0.5
