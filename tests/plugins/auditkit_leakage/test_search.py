from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from auditkit_leakage.search import Content, find, planted

from auditkit.errors import UsageError

Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def train(fashion_mnist: Images) -> Content:
    return Content("image", images=fashion_mnist[0][:1_500])


def test_planted_copies_are_found_and_strangers_stay(fashion_mnist: Images, train: Content) -> None:
    places = np.arange(70) * 20
    copies, kinds = planted(train, places, seed=4)
    strangers = fashion_mnist[0][40_000:40_150]
    found = find(train, Content("image", images=np.concatenate([copies.pictures, strangers])))
    first = np.searchsorted(found.evaluation, np.arange(220))
    assert (found.train[first[:70]] == places).mean() >= 0.93
    exact = np.array(kinds) == "identical"
    assert [found.kind[place] for place in first[:70][exact]] == ["identical"] * exact.sum()
    assert (found.distance[first[:70]][exact] == 0).all()
    assert (found.similarity[first[:70]][exact] == 1).all()
    limit = np.quantile(found.distance[first[70:]], 0.03)
    assert (found.distance[first[:70]] <= limit).mean() >= 0.9


def test_every_pair_comes_once_and_nearest_first(train: Content) -> None:
    found = find(train, train.take(np.arange(60)), neighbours=3)
    pairs = list(zip(found.evaluation.tolist(), found.train.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) == 180
    assert (np.diff(found.evaluation) >= 0).all()
    same = found.evaluation[1:] == found.evaluation[:-1]
    assert (np.diff(found.distance)[same] >= 0).all()


def test_a_pool_against_itself_pairs_nothing_with_itself(train: Content) -> None:
    pixels = np.asarray(train.pictures)[:200]
    pool = Content("image", images=np.concatenate([pixels, pixels[:3], pixels[:3, :, ::-1]]))
    found = find(pool, pool, same_pool=True)
    assert (found.evaluation != found.train).all()
    first = {int(q): int(t) for q, t in zip(found.evaluation[::-1], found.train[::-1], strict=True)}
    for place in range(3):
        assert first[200 + place] == place
        assert first[203 + place] in (place, 200 + place)


def test_texts_and_rows_are_searched_alike() -> None:
    texts = Content(
        "text", texts=tuple(f"text {n} of {n * n} with {n % 7} words" for n in range(50))
    )
    found = find(texts, texts.take(np.array([3, 4])), neighbours=1)
    assert (found.train.tolist(), found.kind) == ([3, 4], ["identical"] * 2)
    rows = Content("row", rows=pl.DataFrame({"a": np.arange(50), "b": np.arange(50) % 7}))
    found = find(rows, rows.take(np.array([8])), neighbours=1)
    assert (found.train.tolist(), found.distance.tolist()) == ([8], [0.0])


def test_one_example_against_itself_has_no_pair() -> None:
    alone = Content("text", texts=("alone",))
    assert len(find(alone, alone, same_pool=True)) == 0


def test_other_kinds_of_data_are_refused(train: Content) -> None:
    with pytest.raises(UsageError, match="same kind of data"):
        find(train, Content("text", texts=("a",)))
