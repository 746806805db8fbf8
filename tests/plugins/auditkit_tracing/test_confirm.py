from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from auditkit_tracing.confirm import PROPONENTS, RANDOM, Order, confirm, sets
from auditkit_tracing.confirmation import falls
from auditkit_tracing.measuring import examples
from auditkit_tracing.predictions import asked, look
from auditkit_tracing.settings import Context, TracingSettings

from auditkit import AuditContext, ForwardINF
from auditkit.errors import SettingError
from auditkit.testing import tiny_subject


def test_sets_are_of_one_size() -> None:
    proponents = np.array([[0, 1, 2, 3, 4, 5], [1, 0, 5, 4, 3, 2]])
    barred = np.zeros((2, 6), dtype=bool)
    order = Order(proponents, {"BM25": proponents[:, ::-1]}, barred)
    found = sets(order, count=2)
    assert found[PROPONENTS].tolist() == [0, 1]
    assert found["BM25"].tolist() == [2, 5]
    barred[0, 0] = True
    assert sets(Order(proponents, {}, barred), count=2)[PROPONENTS].tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    subject = tiny_subject(examples=120, queries=20, epochs=12)
    folder = tmp_path_factory.mktemp("work")
    return AuditContext(
        subject=subject,
        settings=TracingSettings(confirm_count=20, confirm_seeds=2, confirm_epochs=6),
        scoring=ForwardINF(subject.required_task(), train=subject.train, recipe=subject.recipe),
        workplace=lambda: folder,
    )


def test_leaving_out_what_influence_finds_lowers_the_probability_more(context: Context) -> None:
    seen = look(context)
    sure = [seen.pool.ids[place] for place in np.argsort(-seen.probabilities.max(axis=1))[:2]]
    context = AuditContext(
        subject=context.subject,
        settings=context.settings.model_copy(update={"query": tuple(sure)}),
        scoring=context.scoring,
        workplace=context.workplace,
    )
    queries, whole = asked(context, seen), examples(context.subject.train)
    scores = context.engine.influence(queries.pool).values
    order = Order(np.argsort(-scores, axis=1), {}, np.zeros(scores.shape, dtype=bool))
    said: list[str] = []
    frame = confirm(
        AuditContext(
            subject=context.subject, settings=context.settings, scoring=context.scoring,
            workplace=context.workplace, listener=said.append,
        ),
        queries, order, whole,
    )  # fmt: skip
    assert "Training 6 times" in said[0]
    assert (frame["log_probability"] <= 0).all()
    found = falls(frame).group_by("left_out").agg(pl.col("fall").mean())
    means = dict(found.iter_rows())
    assert means[PROPONENTS] > means[RANDOM]
    again = confirm(context, queries, order, whole)  # from the folder
    assert again.equals(frame)
    with pytest.raises(SettingError, match="more than half"):
        confirm(
            AuditContext(
                subject=context.subject,
                settings=context.settings.model_copy(update={"confirm_count": 70}),
                scoring=context.scoring,
                workplace=context.workplace,
            ),
            queries, order, whole,
        )  # fmt: skip


def test_falls_compare_trainings_of_one_seed() -> None:
    frame = pl.DataFrame(
        {
            "left_out": ["nothing", "nothing", PROPONENTS, PROPONENTS],
            "examples": [0, 0, 3, 3],
            "seed": [0, 1, 0, 1],
            "query_id": ["q"] * 4,
            "log_probability": [-1.0, -2.0, -3.0, -2.5],
        }
    )
    assert falls(frame)["fall"].to_list() == [2.0, 0.5]
    assert math.isclose(falls(frame)["fall"].mean() or 0, 1.25)  # type: ignore[arg-type]
