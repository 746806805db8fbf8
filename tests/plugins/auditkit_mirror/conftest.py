"""Small linear problems: softmax, two classes, ridge; and handwritten digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from auditkit_mirror.convex import Problem, with_bias
from auditkit_mirror.study import Asked
from sklearn.datasets import load_digits

Table = npt.NDArray[np.float64]


def make(
    kind: str, *, rows: int = 60, features: int = 4, queries: int = 6
) -> tuple[Problem, Asked]:
    """A problem whose classes overlap, and queries of the same kind."""
    draw = np.random.default_rng(3)
    inputs = with_bias(draw.normal(size=(rows + queries, features)))
    truth = draw.normal(size=(features + 1, 3))
    outputs = inputs @ truth + draw.gumbel(size=(rows + queries, 3))
    targets: Table
    if kind == "softmax":
        targets = np.eye(3)[outputs.argmax(axis=1)]
    elif kind == "logistic":
        targets = (outputs[:, :1] > 0).astype(np.float64)
    else:
        targets = outputs[:, :2]
    problem = Problem(inputs[:rows], targets[:rows], kind, decay=0.02)  # type: ignore[arg-type]
    return problem, Asked(inputs[rows:], targets[rows:])


@pytest.fixture(params=["softmax", "logistic", "squared"])
def small(request: pytest.FixtureRequest) -> tuple[Problem, Asked]:
    """60 rows of 4 features and 6 queries, of each kind in turn."""
    return make(request.param)


@pytest.fixture
def softmax() -> tuple[Problem, Asked]:
    return make("softmax")


@pytest.fixture
def ridge() -> tuple[Problem, Asked]:
    return make("squared")


@pytest.fixture(scope="session")
def digits() -> tuple[Problem, Asked]:
    """300 digits as softmax regression on raw pixels, and 200 others."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = with_bias(images[:500] / 16), np.eye(10)[labels[:500]]
    return (
        Problem(inputs[:300], targets[:300], "softmax", decay=0.01),
        Asked(inputs[300:], targets[300:]),
    )
