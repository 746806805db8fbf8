from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from auditkit_tracing.confirm import PROPONENTS, RANDOM, Order, confirm, sets
from auditkit_tracing.confirmation import falls
from auditkit_tracing.measuring import examples
from auditkit_tracing.predictions import asked, look
from auditkit_tracing.settings import Context, TracingSettings
from torch import Tensor, nn
from torch.nn import functional

from auditkit import AuditContext, ForwardINF, Task
from auditkit.errors import SettingError
from auditkit.testing import tiny_subject

if TYPE_CHECKING:
    from auditkit.subject import Batch


def test_sets_are_of_one_size() -> None:
    proponents = np.array([[0, 1, 2, 3, 4, 5], [1, 0, 5, 4, 3, 2]])
    barred = np.zeros((2, 6), dtype=bool)
    order = Order(proponents, {"BM25": proponents[:, ::-1]}, barred)
    found = sets(order, count=2)
    assert found[PROPONENTS].tolist() == [0, 1]
    assert found["BM25"].tolist() == [2, 5]
    barred[0, 0] = True
    assert sets(Order(proponents, {}, barred), count=2)[PROPONENTS].tolist() == [1, 2, 5]


def test_no_query_is_left_out_for_another_one() -> None:
    proponents = np.array([[0, 1, 2, 3], [1, 0, 3, 2]])
    barred = np.array([[True, False, False, False], [False, True, False, False]])
    found = sets(Order(proponents, {"BM25": proponents}, barred), count=2)
    assert {name: own.tolist() for name, own in found.items()} == {
        PROPONENTS: [2, 3],
        "BM25": [2, 3],
    }


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    subject = tiny_subject(examples=120, queries=20, epochs=12)
    folder = tmp_path_factory.mktemp("work")
    return AuditContext(
        subject=subject,
        settings=TracingSettings(confirm_count=20, confirm_seeds=2, confirm_epochs=6),
        scoring=ForwardINF(
            subject.required_task(), train=subject.train, recipe=subject.recipe, replays=0
        ),
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


class Plain(Task):
    """Classes by a task of one's own, measured by its loss."""

    likelihood = "categorical"

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs, labels = batch
        return model(inputs), labels

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(*self.outputs(model, batch), reduction="none")


def test_probabilities_are_right_whatever_the_task_measures(tmp_path: Path) -> None:
    subject = tiny_subject(examples=60, queries=8, epochs=2)
    found = []
    for number, task in enumerate((subject.required_task(), Plain(subject.required_task().model))):
        context: Context = AuditContext(
            subject=replace(subject, task=task),
            settings=TracingSettings(
                confirm_count=5, confirm_seeds=1, confirm_epochs=1, confirm_rate=0.01, query=("63",)
            ),
            scoring=ForwardINF(task, train=subject.train, recipe=subject.recipe, replays=0),
            workplace=partial(Path, tmp_path / str(number)),
        )
        queries = asked(context, look(context))
        order = Order(np.arange(60)[None], {}, np.zeros((1, 60), dtype=bool))
        frame = confirm(context, queries, order, examples(subject.train))
        found.append(frame["log_probability"].to_numpy())
    assert found[1] == pytest.approx(found[0], abs=1e-4)
