from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from auditkit.engine.checkpoints import load_weights, read_weights
from auditkit.errors import TaskError, UnreadableError

# Not every file here was written by torch, and it says so while it reads them.
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.0, 2.0])}


def test_state_dicts_and_files_of_both_kinds(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    torch.save(weights, tmp_path / "w.pt")
    for checkpoint in (
        weights,
        tmp_path / "w.safetensors",
        tmp_path / "w.pt",
        str(tmp_path / "w.pt"),
    ):
        model = nn.Linear(3, 2)
        load_weights(model, checkpoint)
        assert torch.equal(model.weight, weights["weight"])
        assert torch.equal(model.bias, weights["bias"])


class _Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt"])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "ran"
    torch.save({"weight": torch.zeros(2, 3), "more": _Runs(trap)}, tmp_path / name)
    with pytest.raises(UnreadableError, match="could run code"):
        read_weights(tmp_path / name)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps({"weight": _Runs(trap)}))
    with pytest.raises(UnreadableError):
        read_weights(tmp_path / "bare.pt")
    assert not trap.exists()
    pickle.loads((tmp_path / "bare.pt").read_bytes())
    assert trap.exists()  # the trap does work


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UnreadableError, match="state_dict"):
        read_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 64, b"PK\x03\x04 cut off", b"hello\n" * 50, pickle.dumps(7), b"\xff" * 4096],
    ids=["empty", "zeros", "half a zip", "text", "a number", "ones"],
)
def test_damaged_files_end_in_a_sentence(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=path.name):
        read_weights(path)


def test_cut_files_end_in_a_sentence(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, tmp_path / "w.pt")
    save_file(weights, tmp_path / "w.safetensors")
    for path in (tmp_path / "w.pt", tmp_path / "w.safetensors"):
        whole = path.read_bytes()
        for share in (0.1, 0.5, 0.95):
            path.write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(UnreadableError, match=path.name):
                read_weights(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_missing_files_and_folders_end_in_a_sentence(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UnreadableError, match="missing"):
        read_weights(tmp_path / f"missing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(UnreadableError, match="folder"):
        read_weights(tmp_path / f"folder{suffix}")


def test_something_other_than_weights_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(UnreadableError, match="a list: expected a state dict"):
        read_weights(tmp_path / "list.pt")
    torch.save({"epoch": 3, "state": {"weight": torch.zeros(2, 3)}}, tmp_path / "nested.pt")
    with pytest.raises(UnreadableError, match="int under 'epoch'"):
        load_weights(nn.Linear(3, 2), tmp_path / "nested.pt")
    torch.save({1: torch.zeros(2)}, tmp_path / "numbers.pt")
    with pytest.raises(UnreadableError, match="under 1: expected weights by name"):
        load_weights(nn.Linear(3, 2), tmp_path / "numbers.pt")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "size mismatch for weight"),
        ({"weight": torch.zeros(2, 3)}, r"Missing key.*bias"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "x": torch.zeros(1)}, "Unexpected"),
    ],
)
def test_weights_of_another_model_are_refused(state: dict[str, torch.Tensor], told: str) -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(TaskError, match=rf"does not fit Linear: .*{told}"):
        load_weights(model, state)
