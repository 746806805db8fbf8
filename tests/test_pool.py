from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch

from auditkit import Answers, Documents, ImagePreview, Pool, TextPreview
from auditkit.errors import PoolError
from auditkit.pool import RowDataset

Floats = npt.NDArray[np.float32]
IMAGES = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def test_ids_are_positions_as_strings_by_default() -> None:
    pool = Pool.from_arrays(IMAGES, LABELS)
    assert pool.ids == ("0", "1", "2", "3", "4", "5")
    assert pool.metadata["id"].to_list() == list(pool.ids)


def test_rows_are_tuples_or_bare_for_one_array() -> None:
    image, label = cast(tuple[Floats, int], Pool.from_arrays(IMAGES, LABELS)[3])
    assert np.array_equal(image, IMAGES[3])
    assert label == 1
    assert np.array_equal(Pool.from_arrays(IMAGES)[3], IMAGES[3])  # type: ignore[arg-type]


def test_many_rows_at_once_are_the_single_rows_stacked() -> None:
    pool = Pool.from_arrays(torch.from_numpy(IMAGES), LABELS)
    assert isinstance(pool.dataset, RowDataset)
    images, labels = pool.dataset.rows(np.array([4, 1]))
    assert torch.equal(torch.as_tensor(images), torch.from_numpy(IMAGES[[4, 1]]))
    assert np.array_equal(np.asarray(labels), LABELS[[4, 1]])


def test_a_subset_keeps_ids_metadata_previews_and_rows() -> None:
    frame = pl.DataFrame({"id": list("abcdef"), "colour": list("rgbrgb")})
    pool = Pool.from_arrays(
        IMAGES,
        LABELS,
        ids=list("abcdef"),
        metadata=frame,
        preview=lambda position: TextPreview(f"number {position}"),
    )
    part = pool.subset([5, 0]).subset([1, 0])
    assert part.ids == ("a", "f")
    assert part.metadata["colour"].to_list() == ["r", "b"]
    assert part.preview(1) == TextPreview("number 5")
    assert isinstance(part.dataset, RowDataset)
    assert np.array_equal(np.asarray(part.dataset.rows(np.array([1]))[0]), IMAGES[[5]])
    assert np.array_equal(part[0][0], IMAGES[0])  # type: ignore[index]


def test_a_subset_of_a_plain_data_set_has_no_rows() -> None:
    part = Pool([("a", 0), ("b", 1)]).subset([1])
    assert not isinstance(part.dataset, RowDataset)
    assert part[0] == ("b", 1)


def test_a_subset_of_texts_is_one_of_texts_and_keeps_what_it_knows() -> None:
    documents = Documents(
        [[1, 2, 3], [4, 5], [6, 7, 8, 9]], prompts=[1, 0, 2], pad=3, wholes=["a", "a", "b"]
    )
    part = Pool(documents).subset([2, 0]).subset([1, 0]).dataset
    assert isinstance(part, Documents)
    assert [own.tolist() for own in part.tokens] == [[1, 2, 3], [6, 7, 8, 9]]
    assert (part.prompts, part.wholes, part.pad) == ([1, 2], ("a", "b"), 3)
    assert np.array_equal(part.rows(np.array([1]))[1], documents.rows(np.array([2]))[1])
    assert len(documents) == 3
    answers = Pool(Answers([[1], [2]], [[3, 4], [5]])).subset([1]).dataset
    assert isinstance(answers, Answers)
    assert answers.inputs[0].tolist() == [2]
    assert [own.tolist() for own in answers.answers] == [[5]]


def test_positions_are_found_by_id() -> None:
    pool = Pool.from_arrays(IMAGES, ids=list("abcdef"))
    assert pool.positions(["f", "a"]).tolist() == [5, 0]
    with pytest.raises(PoolError, match="no example with the id 'z'"):
        pool.positions(["a", "z"])


def test_previews_are_guessed_from_the_example() -> None:
    preview = Pool.from_arrays(IMAGES, LABELS).preview(0)
    assert isinstance(preview, ImagePreview)
    assert preview.pixels.shape == (2, 2)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b"], "2 ids for 6 examples"),
        (["a", "b", "c", "d", "e", "a"], "'a' stands 2 times"),
        (["a", "b", "c", "d", "e", 5], "5 is a int"),
    ],
)
def test_ids_must_be_one_unique_string_per_example(ids: list[str], message: str) -> None:
    with pytest.raises(PoolError, match=message):
        Pool.from_arrays(IMAGES, ids=ids)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(PoolError, match="empty"):
        Pool([])


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(PoolError, match=r"\[2, 6\]"):
        Pool.from_arrays(IMAGES, LABELS[:2])
    with pytest.raises(PoolError, match="at least one array"):
        Pool.from_arrays()


def test_metadata_of_another_length_is_refused() -> None:
    with pytest.raises(PoolError, match="1 rows for 6 examples"):
        Pool.from_arrays(IMAGES, metadata=pl.DataFrame({"a": [1]}))


def test_pools_of_different_examples_are_not_joined() -> None:
    first = Pool.from_arrays(np.zeros((3, 4)), np.zeros(3, dtype=int))
    with pytest.raises(PoolError, match=r"array \[4\], number\) in one and \(array \[5\], number"):
        first.joined(Pool.from_arrays(np.zeros((2, 5)), np.zeros(2, dtype=int)))
    joined = first.joined(Pool.from_arrays(np.ones((2, 4)), np.ones(2, dtype=int)))
    assert joined.ids == ("0", "1", "2", "joined/0", "joined/1")


def test_the_columns_of_labels_and_contents_are_kept_by_parts() -> None:
    frame = pl.DataFrame({"text": ["a", "b"], "kind": ["x", "y"]})
    pool = Pool(["a", "b"], metadata=frame, label="kind", contents=["text"])
    part = pool.subset([1])
    assert (part.label, part.contents) == ("kind", ("text",))
    with pytest.raises(PoolError, match="no column 'lable', named as label or contents"):
        Pool(["a", "b"], metadata=frame, label="lable")
