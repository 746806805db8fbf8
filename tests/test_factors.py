from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import auditkit
from auditkit.engine.factors import KeptFactors
from auditkit.errors import StoreError
from auditkit.factors import FactorFolder

ONE = KeptFactors({"a": torch.arange(6.0).view(2, 3).T, "b": torch.ones(2).double()}, {"x": "1"})


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_is_kept_is_given_back(tmp_path: Path) -> None:
    folder = FactorFolder(tmp_path / "deep" / "factors")
    assert folder.get("key") is None
    folder.put("key", ONE)
    found = FactorFolder(folder.path).get("key")
    assert found is not None
    assert found.facts == ONE.facts
    for name, part in ONE.tensors.items():
        assert found.tensors[name].dtype == part.dtype
        assert torch.equal(found.tensors[name], part)
        assert found.tensors[name].is_contiguous()
    assert folder.get("another key") is None
    assert len(files(folder.path)) == 1


def test_parts_of_one_tensor_are_kept_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    kept = KeptFactors({"a": whole[:3], "b": whole[3:], "c": torch.zeros(()).expand(4)}, {})
    FactorFolder(tmp_path).put("key", kept)
    found = FactorFolder(tmp_path).get("key")
    assert found is not None
    assert {name: part.tolist() for name, part in found.tensors.items()} == {
        "a": [0, 1, 2], "b": [3, 4, 5], "c": [0, 0, 0, 0],
    }  # fmt: skip


def test_another_version_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FactorFolder(tmp_path).put("key", ONE)
    monkeypatch.setattr("auditkit.factors.version_of", lambda _: "99")
    assert FactorFolder(tmp_path).get("key") is None


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "text"])
def test_a_damaged_file_is_said_to_be(tmp_path: Path, damage: str) -> None:
    folder = FactorFolder(tmp_path)
    folder.put("key", ONE)
    [path] = files(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-8]
    elif damage == "bit":
        content[-1] ^= 1
    else:
        content = bytearray(b"" if damage == "empty" else b"no tensors at all")
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"factors\.safetensors (cannot be read \(|is damaged)"):
        folder.get("key")
    folder.put("key", ONE)
    assert folder.get("key") is not None


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("auditkit.factors.save_file", full)
    with pytest.raises(StoreError, match="No space left on device"):
        FactorFolder(tmp_path).put("key", ONE)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written to"):
        FactorFolder(tmp_path / "file" / "factors").put("key", ONE)


def test_the_longest_unused_go_first_and_nothing_else_is_touched(tmp_path: Path) -> None:
    theirs = [tmp_path / "model.safetensors", tmp_path / "notes.txt"]
    for path in theirs:
        path.write_bytes(b"x" * 5_000)
        os.utime(path, (0, 0))
    big = KeptFactors({"a": torch.zeros(500)}, {})  # 2,000 bytes and a header
    folder = FactorFolder(tmp_path, most=7_000)
    for number in range(3):
        folder.put(f"key {number}", big)
        for age, path in enumerate(sorted(set(files(tmp_path)) - set(theirs))):
            os.utime(path, ns=(age, age))
    assert all(folder.get(f"key {number}") for number in range(3))
    os.utime(folder._file("key 1"), (1, 1))
    os.utime(folder._file("key 2"), (2, 2))
    assert folder.get("key 1") is not None  # used last
    os.utime(folder._file("key 0"), (3, 3))
    folder.put("key 3", big)
    left = [number for number in range(4) if folder.get(f"key {number}")]
    assert left == [0, 1, 3]
    assert all(path.exists() for path in theirs)


def test_remains_of_a_killed_run_go_as_well(tmp_path: Path) -> None:
    folder = FactorFolder(tmp_path, most=3_000)
    folder.put("key", ONE)
    part = folder._file("other").with_name(folder._file("other").name + "." + "0" * 32 + ".part")
    part.write_bytes(b"x" * 5_000)
    os.utime(part, (0, 0))
    folder.put("key 2", ONE)
    assert not part.exists()
    assert folder.get("key") is not None


def test_what_is_larger_than_the_folder_may_be_is_not_kept(tmp_path: Path) -> None:
    folder = FactorFolder(tmp_path, most=1_000)
    folder.put("key", KeptFactors({"a": torch.zeros(500)}, {}))
    assert folder.get("key") is None
    assert files(tmp_path) == []


def test_nothing_is_run_that_a_file_holds(tmp_path: Path) -> None:
    folder = FactorFolder(tmp_path)
    folder.put("key", ONE)
    torch.save({"a": torch.ones(1)}, folder._file("key"))  # a pickle under the right name
    with pytest.raises(StoreError, match="cannot be read"):
        folder.get("key")


def test_it_is_a_public_name() -> None:
    assert auditkit.FactorFolder is FactorFolder
