from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from auditkit.errors import UnreadableError
from auditkit.sources.weights import PICKLES, check_safetensors, check_undamaged


def test_a_folder_with_safetensors_is_taken_whatever_else_it_holds(tmp_path: Path) -> None:
    for name in ("model-00001-of-00002.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"")
    check_safetensors(tmp_path)


@pytest.mark.parametrize("suffix", [*PICKLES, ".BIN"])
def test_pickles_are_named_and_not_taken(tmp_path: Path, suffix: str) -> None:
    part = tmp_path / "pipeline" / "unet"
    part.mkdir(parents=True)
    (part / f"weights{suffix}").write_bytes(b"")
    found = re.escape(f"weights{suffix}, a pickle that could run code")
    with pytest.raises(UnreadableError, match=f"^unet holds no weights .*{found}.*: save the"):
        check_safetensors(part)
    with pytest.raises(UnreadableError, match=f"^unet of pipeline holds no weights .*{found}"):
        check_safetensors(part, whole=part.parent)


def test_an_empty_folder_is_the_whole_or_a_part(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for whole in (None, folder):
        with pytest.raises(UnreadableError, match=r"^model holds no weights .*\(found none\)"):
            check_safetensors(folder, whole=whole)


@pytest.mark.parametrize("content", [b"", b"no", b"\xff" * 7 + b"\x7f{"])
def test_damaged_files_are_named_with_their_size(tmp_path: Path, content: bytes) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    check_undamaged(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(content)
    with pytest.raises(
        UnreadableError, match=rf"^b.safetensors in .* is damaged .{len(content)} bytes"
    ):
        check_undamaged(tmp_path)
