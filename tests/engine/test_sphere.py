"""A point near a query, and only where its loss has saturated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool
from auditkit.engine.passes import Function, LocalExecutor
from auditkit.engine.sphere import away
from auditkit.engine.update import Query

CPU = torch.device("cpu")


class Odds(nn.Module):
    """The input is the log-odds of class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight


TASK = ClassificationTask(Odds().eval())


def query(odds: float, function: Function) -> Query:
    pool = Pool.from_arrays(torch.tensor([[odds]]), torch.tensor([1]))
    executor = LocalExecutor(device=CPU)
    return Query(function, TASK.model, pool, np.arange(1), executor, CPU)


@pytest.mark.parametrize("measure", [TASK.loss, TASK.measure])
def test_a_query_with_some_loss_stays_where_it_is(measure: Function) -> None:
    asked = query(1.05, measure)  # a loss of 0.3, and a margin far below any threshold of losses
    assert away(asked, TASK.loss, radius=0.5, seed=0) is asked


def test_a_saturated_query_moves_until_its_loss_shows() -> None:
    margin, loss = (
        away(query(8.0, measure), TASK.loss, radius=0.5, seed=0).mean()  # a loss of 0.0003
        for measure in (TASK.measure, TASK.loss)
    )
    assert loss > 0.01
    assert loss == pytest.approx(np.log1p(np.exp(margin)))
