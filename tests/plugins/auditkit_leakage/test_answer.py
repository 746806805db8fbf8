from __future__ import annotations

from collections.abc import Sequence

import pytest
from auditkit_leakage.answer import sentence
from auditkit_leakage.content import Content
from auditkit_leakage.evidence import Evidence, gather
from auditkit_leakage.metric import ACCURACY, Compared

from auditkit.progress import SILENT

UNKNOWN = "there are too few examples to judge altered copies."


def texts(first: int, count: int) -> list[str]:
    """Texts of their own words each."""
    return [
        " ".join(f"w{number}x{place}" for place in range(12))
        for number in range(first, first + count)
    ]


def searched(train: Sequence[str], evaluation: Sequence[str] | None) -> Evidence:
    asked = None if evaluation is None else Content("text", texts=tuple(evaluation))
    return gather(Content("text", texts=tuple(train)), asked, seed=0, progress=SILENT)


@pytest.mark.parametrize(
    ("train", "evaluation", "said"),
    [
        (texts(0, 5), texts(5, 4), f"is identical to a training example; {UNKNOWN}"),
        (texts(0, 5), texts(4, 4), "About 1 of 4 evaluation examples (25.0%) was in the training"),
        (texts(0, 5), texts(4, 4), f"set, as identical content shows; {UNKNOWN}"),
        (texts(0, 5), texts(0, 5), "About 5 of 5 evaluation examples (100.0%) were in the tr"),
        (texts(0, 5), None, f"None of the 5 training examples is identical to another; {UNKNOWN}"),
        (texts(0, 5) + texts(0, 1), None, "About 2 of 6 training examples (33.3%) have a copy"),
        (
            ["yes"] * 9 + texts(0, 9),
            ["yes", *texts(9, 1)],
            "is identical to a training example, except by",
        ),
        (
            ["yes"] * 9 + texts(0, 9),
            ["yes", "yes"],
            f"is identical to a training example, except by chance; {UNKNOWN}",
        ),
        (texts(0, 150), texts(150, 9), "looks as if it had been trained on."),
        (texts(0, 150), None, "looks like a copy of another."),
    ],
)
def test_the_answer_says_what_is_known(
    train: list[str], evaluation: list[str] | None, said: str
) -> None:
    found = searched(train, evaluation)
    assert said in sentence(found, found.judged(seed=0), None, alone=evaluation is None)


def test_the_answer_ends_with_what_is_unknown_also_after_the_metric() -> None:
    found = searched(texts(0, 5), texts(4, 4))
    compared = Compared(ACCURACY, whole=0.75, clean=0.5, low=0.1, high=0.3)
    said = sentence(found, found.judged(seed=0), compared, alone=False)
    assert said.endswith(f"75.0% with those flagged and 50.0% without; {UNKNOWN}")
