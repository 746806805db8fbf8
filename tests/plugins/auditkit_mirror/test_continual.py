from __future__ import annotations

import numpy as np
import pytest
from auditkit_mirror.agreement import pearson
from auditkit_mirror.continual import (
    Setting,
    linear_scores,
    pool_of,
    retrained_together,
    try_settings,
)
from auditkit_mirror.convex import Problem, fit
from auditkit_mirror.retrained import add_one
from auditkit_mirror.study import Asked, convex_mirror

from auditkit import errors
from auditkit.progress import SILENT

Case = tuple[Problem, Asked]


def test_an_engine_without_damping_gives_influence_functions(small: Case) -> None:
    from auditkit_mirror.approximators import influence_functions

    problem, asked = small
    optimum = fit(problem)
    scores = linear_scores(optimum, asked)(Setting("ggn", rise=0.001, damping=0.0))
    formulas = influence_functions(optimum, asked).train_to_test
    assert pearson(scores, formulas).min() > 0.99


def test_curvature_is_worth_more_than_the_plain_gradient(digits: Case) -> None:
    problem, candidates = digits
    optimum, asked = fit(problem), Asked(candidates.inputs[:4], candidates.targets[:4])
    mirror = convex_mirror(optimum, asked, folder=None, progress=SILENT)
    tried = try_settings(
        mirror.train_to_test,
        linear_scores(optimum, asked),
        settings=[Setting("none"), Setting("ggn")],
        retrained=mirror.test_to_train,
        progress=SILENT,
    )
    found = [each.agreement.pearson.mean for each in tried if each.agreement is not None]
    assert found[0] < found[1] < found[2]
    assert tried[-1].setting is None


def test_a_setting_without_scores_says_why() -> None:
    def none(_: Setting) -> np.ndarray:
        raise errors.StepError("The step is lost.")

    (found,) = try_settings(np.eye(3), none, settings=[Setting("none")], progress=SILENT)
    assert found.agreement is None
    assert found.failure == "The step is lost."


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        (Setting("kfac"), "KFAC, rise 0.1"),
        (Setting("ggn", rise=3, damping=0), "Gauss-Newton, rise 3, damping 0"),
        (
            Setting("auto", steps=4, replay=256),
            "default, rise 0.1, 4 steps, 256 replayed",
        ),
    ],
)
def test_settings_have_names(setting: Setting, name: str) -> None:
    assert setting.name == name


def test_training_with_one_query_at_once_is_adding_it(small: Case) -> None:
    problem, asked = small
    optimum, one = fit(problem), Asked(asked.inputs[:1], asked.targets[:1])
    for regularizer in ("scaled", "kept"):
        moved = add_one(optimum, one.inputs, one.targets, regularizer=regularizer).weights[0]  # type: ignore[arg-type]
        before, after = (
            problem.family.loss(problem.inputs @ weights, problem.targets)
            for weights in (optimum.weights, moved)
        )
        found = retrained_together(optimum, one, regularizer=regularizer)  # type: ignore[arg-type]
        assert found == pytest.approx(before - after, abs=1e-7)


def test_a_pool_holds_the_examples_as_a_model_would_be_given_them(small: Case) -> None:
    problem, asked = small
    example = pool_of(problem, asked)[2]
    assert isinstance(example, tuple)
    assert example[0].tolist() == asked.inputs[2, :-1].tolist()
    if problem.kind == "softmax":
        assert example[1] == asked.targets[2].argmax()
    else:
        assert np.atleast_1d(example[1]).tolist() == asked.targets[2].tolist()
