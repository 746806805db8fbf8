from __future__ import annotations

import numpy as np
import pytest
import torch

from auditkit.preview import ImagePreview, RowPreview, TextPreview, guess_preview, row_preview


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((5, 4), (5, 4)),
        ((1, 5, 4), (5, 4)),
        ((3, 5, 4), (5, 4, 3)),
        ((5, 4, 3), (5, 4, 3)),
        ((5, 4, 1), (5, 4)),
    ],
)
def test_arrays_of_the_shape_of_an_image_are_images(
    shape: tuple[int, ...], shown: tuple[int, ...]
) -> None:
    for array in (np.zeros(shape), torch.zeros(shape), torch.zeros(shape).to(torch.uint8)):
        preview = guess_preview(array)
        assert isinstance(preview, ImagePreview)
        assert preview.pixels.shape == shown
        assert preview.pixels.dtype == np.uint8


def test_pixels_are_bytes_shares_or_scaled_by_their_own_range() -> None:
    def pixels(array: np.ndarray) -> list[list[int]]:  # type: ignore[type-arg]
        preview = guess_preview(array)
        assert isinstance(preview, ImagePreview)
        return preview.pixels.tolist()

    assert pixels(np.array([[0, 7], [9, 255]], np.uint8)) == [[0, 7], [9, 255]]
    assert pixels(np.array([[0.0, 0.2], [0.4, 0.6]])) == [[0, 51], [102, 153]]
    assert pixels(np.array([[-1.0, 0.0], [0.0, 1.0]])) == [[0, 128], [128, 255]]
    assert pixels(np.array([[np.nan, -1.0], [0.0, 1.0]])) == [[0, 0], [128, 255]]
    assert pixels(np.full((2, 2), 5.0)) == [[0, 0], [0, 0]]


def test_half_precision_tensors_can_be_shown() -> None:
    assert isinstance(guess_preview(torch.zeros(4, 4, dtype=torch.bfloat16)), ImagePreview)
    assert isinstance(guess_preview(torch.zeros(4, 4, requires_grad=True)), ImagePreview)


def test_a_text_is_kept_as_it_is() -> None:
    assert guess_preview("<b>x</b>") == TextPreview("<b>x</b>")


def test_a_vector_and_a_mapping_of_scalars_are_rows() -> None:
    assert guess_preview(np.array([1.0, 2.5])) == RowPreview({"0": "1", "1": "2.5"})
    assert guess_preview({"age": 3, "name": None}) == RowPreview({"age": "3", "name": "None"})


def test_the_first_part_that_can_be_shown_is_shown() -> None:
    assert guess_preview((np.float32(3.0), "text", np.zeros((2, 2)))) == TextPreview("text")
    assert isinstance(guess_preview({"image": np.zeros((2, 2)), "label": 1}), ImagePreview)


def test_what_cannot_be_shown_is_none() -> None:
    assert guess_preview(object()) is None
    assert guess_preview(np.zeros((2, 3, 4, 5))) is None
    assert guess_preview(np.array([["a", "b"], ["c", "d"]])) is None


def test_an_empty_cell_shows_as_empty() -> None:
    assert row_preview(["a", "b"], [None, 2]) == RowPreview({"a": "", "b": "2"})
