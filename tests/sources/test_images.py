from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from auditkit.errors import LabelError, SubjectReferenceError, UnreadableError
from auditkit.hookspecs import SourceOptions
from auditkit.pool import RowDataset
from auditkit.preview import ImagePreview
from auditkit.sources import load
from auditkit.sources.images import ImageDataset


def test_a_folder_becomes_a_subject(image_folder: Callable[..., Path]) -> None:
    root = image_folder(count=30, classes=("<i>bright", "dark"))
    (root / "dark" / "007.png").write_text("broken")
    subject = load(str(root), SourceOptions())
    assert len(subject.train) == 59
    assert subject.task.class_names == ("<i>bright", "dark")
    assert "dark/007.png" not in subject.train.ids
    assert "Unreadable images skipped: 1 ('dark/007.png')." in subject.description
    images, labels = subject.train.dataset.rows(np.arange(59))
    with torch.no_grad():
        right = (subject.task.model(images).argmax(dim=1) == labels).float().mean()
    assert right > 0.95
    shown = subject.train.preview(0)
    assert isinstance(shown, ImagePreview)
    assert shown.pixels.shape == (8, 8)


def test_pixels_are_given_out_in_unit_range_with_channels_first() -> None:
    pixels = np.zeros((3, 8, 9, 3), np.uint8)
    pixels[1, 2, 3] = (255, 51, 0)
    dataset = ImageDataset(pixels, np.array([0, 1, 0]))
    assert isinstance(dataset, RowDataset)
    images, labels = dataset.rows(np.array([1, 0]))
    assert images.shape == (2, 3, 8, 9)
    assert images.dtype == torch.float32
    assert torch.equal(images[0, :, 2, 3], torch.tensor([1.0, 0.2, 0.0]))
    assert labels.tolist() == [1, 0]
    image, label = dataset[1]
    assert torch.equal(image, images[0])
    assert label == 1


def test_a_second_folder_becomes_the_queries(image_folder: Callable[..., Path]) -> None:
    root, other = image_folder(), image_folder("more", count=3, size=(20, 20), mode="RGB")
    subject = load(str(root), SourceOptions(trusted=other))
    assert subject.queries is not None
    assert subject.queries.ids[0] == "bright/000.png"
    assert subject.queries[0][0].shape == (1, 8, 8)
    assert "6 images from more are the queries." in subject.description
    strange = image_folder("strange", count=2, classes=("grey",))
    with pytest.raises(LabelError, match=r"label 'grey', which no training example has"):
        load(str(root), SourceOptions(evaluation=strange))
    with pytest.raises(SubjectReferenceError, match=r"is not a folder"):
        load(str(root), SourceOptions(trusted=root / "dark" / "000.png"))


def test_bad_folders_are_one_sentence(image_folder: Callable[..., Path]) -> None:
    with pytest.raises(LabelError, match=r"All 12 examples are of one class, 'dark'"):
        load(str(image_folder("one", classes=("dark",))), SourceOptions())
    root = image_folder("single", count=12)
    for path in sorted((root / "dark").iterdir())[1:]:
        path.unlink()
    with pytest.raises(LabelError, match=r"Class 'dark' has one example \('dark/000\.png'\)"):
        load(str(root), SourceOptions())
    broken = image_folder("broken")
    for path in sorted((broken / "dark").iterdir())[:3]:
        path.write_bytes(b"\x89PNG")
    with pytest.raises(UnreadableError, match=r"3 of 24 images cannot be read"):
        load(str(broken), SourceOptions())


def test_a_second_folder_may_be_flat_where_labels_are_not_needed(
    image_folder: Callable[..., Path],
) -> None:
    root, other = image_folder(), image_folder("more", count=3) / "dark"
    subject = load(str(root), SourceOptions(evaluation=other, unlabelled=True))
    assert subject.queries is not None
    assert subject.queries.label is None
    image = subject.queries[0]
    assert isinstance(image, torch.Tensor)
    assert image.shape == (1, 8, 8)
    assert "The images of dark lie in no class folders: no labels." in subject.description
    with pytest.raises(SubjectReferenceError, match="no class folders"):
        load(str(root), SourceOptions(evaluation=other))
