from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from auditkit_memorization.confirm import confirm
from auditkit_memorization.settings import Context

from auditkit import errors
from tests.plugins.auditkit_memorization.conftest import Digits

MakeContext = Callable[..., Context]


def test_leaving_wrong_labels_out_helps(digits: Digits, make_context: MakeContext) -> None:
    context = make_context(digits.subject)
    found = confirm(context, digits.wrong.astype(float), share=0.1, seeds=3)
    assert found.left_out == 50
    assert found.judged_on == "the 120 evaluation examples"
    everything, without, _ = found.levels["accuracy"]
    assert without > everything
    against = found.differences.row(2, named=True)
    assert against["comparison"].endswith("against without random ones")
    assert 0 < against["low"] < against["difference"] < against["high"]


def test_leaving_rare_examples_out_hurts(digits: Digits, make_context: MakeContext) -> None:
    context = make_context(digits.subject)
    found = confirm(context, digits.negative.astype(float), share=0.06, seeds=3)
    assert found.differences["difference"][2] < 0


def test_without_queries_a_part_of_the_train_pool_judges(
    digits: Digits, make_context: MakeContext
) -> None:
    context = make_context(replace(digits.subject, queries=None))
    found = confirm(context, digits.wrong.astype(float), share=0.05, seeds=2)
    assert found.left_out == 20
    assert "100 training examples that none of these models saw" in found.judged_on


def test_a_share_of_nothing_is_refused(digits: Digits, make_context: MakeContext) -> None:
    with pytest.raises(errors.SettingError, match="leaves 0 out"):
        confirm(make_context(digits.subject), np.zeros(500), share=0.0005, seeds=2)
