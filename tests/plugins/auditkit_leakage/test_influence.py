from __future__ import annotations

import numpy as np
import pytest
from auditkit_leakage.influence import margins, treat
from scipy.special import log_softmax

import auditkit
from auditkit import testing


@pytest.fixture(scope="module")
def subject() -> auditkit.Subject:
    return testing.tiny_subject(examples=150, epochs=10)


@pytest.fixture(scope="module")
def engine(subject: auditkit.Subject) -> auditkit.ForwardINF:
    return auditkit.ForwardINF(subject.required_task(), train=subject.train)


def test_margins_are_the_log_odds_of_the_label() -> None:
    scores = np.array([[2.0, 1.0, -1.0], [0.0, 0.0, 5.0]])
    labels = np.array([0, 1])
    logs = log_softmax(scores, axis=1)[[0, 1], labels]
    assert margins(scores, labels) == pytest.approx(logs - np.log1p(-np.exp(logs)))


def test_copies_come_first_among_all_and_among_some(
    subject: auditkit.Subject, engine: auditkit.ForwardINF
) -> None:
    places = np.arange(0, 150, 10)
    copies = subject.train.subset(places)
    asked = {"evaluation": np.arange(15), "candidates": places}
    whole = treat(engine, copies, subject.train, **asked, among=None)
    some = treat(engine, copies, subject.train, **asked, among=np.arange(5, 80))
    assert (whole.rank == 1).all()
    assert (whole.first == places).all()
    assert whole.compared == 150
    assert (some.rank == 1).all()
    assert some.compared == 75 + 8
    assert some.carried == pytest.approx(whole.carried)


def test_a_pair_of_strangers_ranks_where_its_influence_is(
    subject: auditkit.Subject, engine: auditkit.ForwardINF
) -> None:
    queries = subject.train.subset([3, 4])
    found = treat(
        engine,
        auditkit.Pool([subject.train[3], subject.train[4]]),
        subject.train,
        evaluation=np.array([0, 0, 1]),
        candidates=np.array([3, 90, 4]),
        among=None,
    )
    scores = engine.configured(
        measure="margin", train_measure="margin", relative=True, response="first-order"
    ).influence(queries, subject.train)
    assert found.rank[1] == (scores.values[0] > scores.values[0, 90]).sum() + 1
    assert found.rank[0] == found.rank[2] == 1
    assert found.percentile[0] == pytest.approx(1.0)
