from collections.abc import Callable
from pathlib import Path

import pytest

from auditkit.errors import SubjectReferenceError
from auditkit.sources.folders import list_images


def test_ids_are_paths_and_labels_are_folders(image_folder: Callable[..., Path]) -> None:
    root = image_folder(count=2)
    deeper = root / "dark" / "inner"
    deeper.mkdir()
    (root / "dark" / "000.png").rename(deeper / "x.PNG")
    listing = list_images(root)
    assert [image.id for image in listing.images] == [
        "bright/000.png", "bright/001.png", "dark/001.png", "dark/inner/x.PNG",
    ]  # fmt: skip
    assert listing.images[-1].label == "dark"
    assert listing.sentences == []


def test_what_is_left_out_is_counted(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = image_folder(count=2)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.png").write_bytes((root / "dark" / "000.png").read_bytes())
    (root / "dark" / "leak.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "dark" / "loop").symlink_to(root)
    (root / "dark" / "same.png").symlink_to(root / "dark" / "000.png")
    (root / "dark" / "notes.txt").touch()
    (root / "dark" / ".hidden.png").touch()
    (root / ".git").mkdir()
    (root / ".git" / "a.png").touch()
    (root / "beside.png").touch()
    listing = list_images(root)
    assert [image.id for image in listing.images if image.label == "dark"] == [
        "dark/000.png", "dark/001.png", "dark/same.png",
    ]  # fmt: skip
    assert (listing.loose, listing.others, listing.links) == (1, 1, 2)
    assert len(listing.sentences) == 3


def test_folders_without_classes_are_refused(
    image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "a" / "b.txt").touch()
    with pytest.raises(SubjectReferenceError, match=r"holds no images \(1 other files\)"):
        list_images(tmp_path / "empty")
    with pytest.raises(SubjectReferenceError, match=r"holds 12 images and no class folders"):
        list_images(image_folder() / "dark")


def test_splits_are_not_taken_for_classes(
    image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    image_folder("set/train", count=2)
    image_folder("set/test", count=2)
    with pytest.raises(SubjectReferenceError, match=r"test, train, which are splits rather than"):
        list_images(tmp_path / "set")


def test_names_that_are_no_text_still_make_ids(image_folder: Callable[..., Path]) -> None:
    root = image_folder(count=1)
    odd = b"\xff<img src=x>.png".decode("utf-8", "surrogateescape")
    try:
        (root / "dark" / "000.png").rename(root / "dark" / odd)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert list_images(root).images[-1].id == "dark/\\xff<img src=x>.png"
