"""Digits learnt by heart: a tenth under a wrong label, and a few scanned as negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from auditkit_memorization import MemorizationAudit
from auditkit_memorization.settings import Context, MemorizationSettings
from sklearn.datasets import load_digits
from torch import nn

import auditkit
from auditkit import truth

COUNT, ASKED, NEGATIVES = 500, 120, 30

RECIPE = auditkit.Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.9, batch_size=32, epochs=40)


@dataclass(frozen=True)
class Digits:
    """A subject whose wrong labels and negatives are known, bool [train] each."""

    subject: auditkit.Subject
    wrong: npt.NDArray[np.bool_]
    negative: npt.NDArray[np.bool_]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


@pytest.fixture(scope="session")
def digits() -> Digits:
    data = load_digits()
    random = np.random.default_rng(3)
    order = random.permutation(len(data.target))[: COUNT + ASKED]
    images = (data.data[order] / 16).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    negative, wrong = np.zeros(len(order), bool), np.zeros(len(order), bool)
    negative[:NEGATIVES], negative[-20:] = True, True
    images[negative] = 1 - images[negative]
    wrong[NEGATIVES : NEGATIVES + 50] = True
    labels[wrong] = (labels[wrong] + random.integers(1, 10, wrong.sum())) % 10
    scan = pl.DataFrame({"scan": np.where(negative, "negative", "positive")})
    pool = auditkit.Pool.from_arrays(images, labels, metadata=scan)
    train, queries = pool.subset(range(COUNT)), pool.subset(range(COUNT, COUNT + ASKED))
    torch.manual_seed(0)
    names = [f"digit {k}" for k in range(10)]
    task = auditkit.ClassificationTask(network(), class_names=names)
    model = truth.retrain(truth.Retraining(task=task, train=train, recipe=RECIPE))
    subject = auditkit.Subject(
        task=auditkit.ClassificationTask(model, class_names=names),
        train=train,
        queries=queries,
        recipe=RECIPE,
    )
    return Digits(subject, wrong[:COUNT], negative[:COUNT])


@pytest.fixture(scope="session")
def run(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> auditkit.Run:
    """The audit as it comes, with a confirmation."""
    return auditkit.run(
        MemorizationAudit,
        digits.subject,
        out=tmp_path_factory.mktemp("runs"),
        settings={"confirm": True, "confirm_seeds": 2, "leave_out": 0.1},
    )


MakeContext = Callable[..., Context]


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    """Makes a context of a subject and settings, as the pipeline does."""

    def make(subject: auditkit.Subject, **settings: object) -> Context:
        task = subject.required_task()
        return auditkit.AuditContext(
            subject=subject,
            settings=MemorizationSettings.model_validate(settings),
            scoring=auditkit.ForwardINF(
                task, train=subject.train, recipe=subject.recipe, replays=0
            ),
            workplace=lambda: tmp_path,
        )

    return make
