"""Rankings hold what tiles say, exactly, and no more memory than that."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from auditkit import ClassificationTask, ForwardINF, Pool
from auditkit.engine.collecting import Strongest
from auditkit.errors import NonFiniteScoreError
from auditkit.scores import Scores

QUERIES, EXAMPLES = 400, 6_000


def test_tiles_of_any_height_give_the_same_ranking() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(23, 40)).round(1)  # with ties
    values[3] = np.abs(values[3])  # nobody opposes this query
    queries, train = tuple(f"q{row}" for row in range(23)), tuple(map(str, range(40)))
    steps = np.ones(23)
    whole = Scores(values.astype(np.float32), queries, train, steps.astype(np.float32))
    for height in (1, 7, 23):
        kept = Strongest(queries, train, k=6, measure="loss")
        for start in range(0, 23, height):
            rows = slice(start, min(start + height, 23))
            kept.add(rows, values[rows], steps[rows])
        ranking = kept.ranking()
        for name in queries:
            assert ranking.proponents(name, 6) == whole.proponents(name, 6)
            assert ranking.opponents(name, 3) == whole.opponents(name, 3)
        assert ranking.opponents("q3", 6) == []
        assert (ranking.opposing.places[3] == -1).all()
        assert np.allclose(ranking.mean, values.mean(axis=0), atol=1e-6)
        assert np.array_equal(ranking.highest, values.max(axis=0).astype(np.float32))
        assert np.array_equal(ranking.lowest, values.min(axis=0).astype(np.float32))


def test_a_score_that_is_no_number_is_told_by_its_query() -> None:
    kept = Strongest(("a", "b"), ("x", "y"), k=1, measure="loss")
    kept.add(slice(0, 1), np.ones((1, 2)), np.ones(1))
    with pytest.raises(NonFiniteScoreError, match="'b'"):
        kept.add(slice(1, 2), np.array([[1.0, np.nan]]), np.ones(1))


@pytest.mark.parametrize("response", ["finite", "products"])
def test_a_ranking_never_holds_the_table(response: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What numpy holds at most; a table would be 9.6 MB in single precision."""
    monkeypatch.setattr("auditkit.engine.scoring._HELD", 20 * EXAMPLES)
    monkeypatch.setattr("auditkit.engine.scoring._HELD_TOGETHER", 20 * EXAMPLES)
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    pool = Pool.from_arrays(torch.randn(EXAMPLES, 4), torch.arange(EXAMPLES) % 3)
    engine = ForwardINF(
        ClassificationTask(model),
        train=pool,
        preconditioner="none",
        response=response,  # type: ignore[arg-type]
        batch_size=EXAMPLES,
    )
    queries = pool.subset(range(QUERIES if response == "products" else QUERIES // 4))
    engine.ranking(queries.subset([0]), k=10)  # what is allocated once
    tracemalloc.start()
    try:
        ranking = engine.ranking(queries, k=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tile = 20 * EXAMPLES * 8
    assert peak < 4 * tile + len(queries) * 10 * 16 + 2**20
    if response == "products":
        assert peak < QUERIES * EXAMPLES * 4 / 2
    assert len(ranking.proponents(queries.ids[-1], 10)) == 10
