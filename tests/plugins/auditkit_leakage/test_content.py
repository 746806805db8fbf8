from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_leakage.content import Content, check_comparable, content_of, normalized

from auditkit import Pool, RowPreview
from auditkit.errors import ColumnError, PoolError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 7), dtype=np.uint8)


def test_bytes_stay_as_they_are() -> None:
    content = content_of(Pool.from_arrays(PIXELS, np.zeros(6, dtype=np.int64)))
    assert content.modality == "image"
    np.testing.assert_array_equal(content.pictures, PIXELS)
    assert len(content) == 6


def test_scaled_images_come_out_as_the_bytes_they_were() -> None:
    channels_first = Pool.from_arrays((PIXELS[:, None] / 255).astype(np.float32))
    np.testing.assert_array_equal(content_of(channels_first).pictures, PIXELS)
    numbers = Pool.from_arrays(PIXELS.astype(np.float32))
    np.testing.assert_array_equal(content_of(numbers).pictures, PIXELS)


def test_two_samples_of_standardized_images_are_on_one_scale() -> None:
    values = ((PIXELS / 255 - 0.3) / 0.35).astype(np.float32)
    values[0, 0, :2] = (-0.3 / 0.35, 0.7 / 0.35)  # the ends of the range are in both samples
    whole = content_of(Pool.from_arrays(values)).pictures
    part = content_of(Pool.from_arrays(values[:3])).pictures
    np.testing.assert_array_equal(whole[:3], part)


def test_colour_is_kept_and_comes_last() -> None:
    colour = np.random.default_rng(1).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    assert content_of(Pool.from_arrays(colour)).pictures[0].shape == (8, 8, 3)


def test_a_subset_of_a_pool_is_read_through_its_previews() -> None:
    pool = Pool.from_arrays(PIXELS).subset([4, 1])
    np.testing.assert_array_equal(content_of(pool).pictures, PIXELS[[4, 1]])


def test_images_of_different_sizes_are_kept_apart() -> None:
    images = [np.zeros((9, 9), dtype=np.uint8), np.zeros((8, 12), dtype=np.uint8)]
    content = content_of(Pool(images))
    assert isinstance(content.images, tuple)
    assert [image.shape for image in content.images] == [(9, 9), (8, 12)]
    assert content.take(np.array([1])).pictures[0].shape == (8, 12)


def test_texts_come_from_examples_or_from_a_column() -> None:
    texts = ["one", "", "<script>"]
    assert content_of(Pool(texts)).strings == ("one", "", "<script>")
    frame = pl.DataFrame({"words": ["a", None, "c"]})
    pool = Pool.from_arrays(np.zeros((3, 2)), metadata=frame)
    assert content_of(pool, text="words").strings == ("a", "", "c")
    with pytest.raises(ColumnError, match=r"no column 'wrods'.*words"):
        content_of(pool, text="wrods")


def test_rows_leave_out_labels_and_ids() -> None:
    frame = pl.DataFrame(
        {"key": ["x", "y"], "label": [0, 1], "kind": ["b", "a"], "size": [1.5, None]}
    )
    pool = Pool.from_arrays(
        np.zeros((2, 3)), ids=["x", "y"], metadata=frame, preview=lambda _: RowPreview({"a": "b"})
    )
    assert content_of(pool).frame.columns == ["kind", "size"]
    assert content_of(pool, label="kind").frame.columns == ["label", "size"]


def test_vectors_without_metadata_are_rows_of_numbers() -> None:
    values = np.arange(12.0).reshape(4, 3)
    frame = content_of(Pool.from_arrays(values, np.zeros(4))).frame
    np.testing.assert_array_equal(frame.to_numpy(), values)


def test_what_is_none_of_these_is_refused() -> None:
    with pytest.raises(PoolError, match=r"none of these.*complex"):
        content_of(Pool([1j, 2j]))
    with pytest.raises(PoolError, match="'1' is of another kind"):
        content_of(Pool(["a text", PIXELS[0]]))


def test_what_cannot_be_compared_is_refused_in_a_sentence() -> None:
    images = Content("image", images=PIXELS)
    with pytest.raises(UsageError, match=r"images and the evaluation examples are texts"):
        check_comparable(images, Content("text", texts=("a",)))
    with pytest.raises(UsageError, match=r"7 by 9 pixels, grey and .* 8 by 8 pixels, in colour"):
        check_comparable(images, Content("image", images=np.zeros((1, 8, 8, 3), np.uint8)))
    one, other = pl.DataFrame({"a": [1], "b": [1]}), pl.DataFrame({"a": [1], "c": [1]})
    with pytest.raises(UsageError, match="'b', 'c' are in one only"):
        check_comparable(Content("row", rows=one), Content("row", rows=other))
    with pytest.raises(UsageError, match="These are images, not texts"):
        _ = images.strings
    check_comparable(images, images)


def test_normalized_text() -> None:
    assert normalized("ﬁne \t\n A\u0301") == "fine Á"


def test_a_part_of_a_pool_has_the_content_it_had_in_the_whole() -> None:
    random = np.random.default_rng(3)
    whole = Pool.from_arrays(random.normal(size=(6, 1, 8, 8)).astype(np.float32), np.arange(6))
    part = content_of(whole.subset([1, 4])).pictures
    assert np.array_equal(np.asarray(part), np.asarray(content_of(whole).pictures)[[1, 4]])
    rows = Pool.from_arrays(random.normal(size=(6, 5)), np.arange(6))
    assert content_of(rows.subset([2])).frame.equals(content_of(rows).frame[[2]])


def test_images_of_numbers_are_scaled_as_those_they_are_compared_with() -> None:
    train = Pool.from_arrays(np.linspace(-0.8, 2.02, 128).reshape(2, 8, 8).astype(np.float32))
    few = train.subset([0])
    ours, theirs = content_of(train), content_of(few, like=train)
    assert np.array_equal(np.asarray(ours.pictures)[:1], np.asarray(theirs.pictures))
    assert not np.array_equal(np.asarray(theirs.pictures), np.asarray(content_of(few).pictures))
