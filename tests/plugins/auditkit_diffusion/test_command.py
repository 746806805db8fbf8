"""`auditkit diffusion`, through the real command line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image

from auditkit.cli import main

Call = Callable[..., tuple[int, str]]
QUICK = ("--draws", "8", "--noises", "1")


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs `auditkit diffusion`; gives the exit code and what was said."""

    def run(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["diffusion", *map(str, arguments), "--out", str(tmp_path / "runs")])
        said = capfd.readouterr()
        return int(caught.value.code or 0), " ".join((said.out + said.err).split())

    return run


@pytest.fixture
def only(tmp_path: Path) -> Callable[[], Path]:
    """The folder of the only run there is."""

    def found() -> Path:
        [run] = [path.parent for path in (tmp_path / "runs").glob("*/run.json")]
        return run

    return found


def test_altered_copies_lean_on_their_originals(
    call: Call, learnt: Path, only: Callable[[], Path]
) -> None:
    code, said = call(
        learnt / "train", "--model", learnt / "model", "--query", learnt / "made",
        "--fail-on", "0.5", "--kept", "5", *QUICK,
    )  # fmt: skip
    assert code == 1
    assert "2 of 2 generated images lean on single training images, most of all like-" in said
    assert "8 draws of noise per image (as set)" in said
    frame = pl.read_parquet(only() / "findings.parquet")
    assert frame.columns[:7] == [
        "example_id", "rank", "score", "probability", "flagged", "query_id", "side",
    ]  # fmt: skip
    flagged = frame.filter(pl.col("flagged")).select("query_id", "example_id").rows()
    assert sorted(flagged) == [("like-07.png", "07.png"), ("like-23.png", "23.png")]
    assert frame["probability"].null_count() == frame.height
    assert set(frame["side"]) == {"proponent"}  # so large a rise makes every image's loss higher
    assert frame.group_by("query_id").len()["len"].to_list() == [5, 5]
    assert frame["influence"].min() > 0
    assert frame.filter(pl.col("flagged"))["pixel_rank"].to_list() == [1, 1]
    record = json.loads((only() / "run.json").read_text())
    assert record["rate"] == 1
    assert record["self_check"]["top1"] >= 0.5
    report = (only() / "report.html").read_text(encoding="utf-8")
    for heading in ("behind each", "What recurs", "How strongly", "How far to trust this"):
        assert heading in report


def test_a_small_rise_tells_opponents_too(
    call: Call, learnt: Path, only: Callable[[], Path]
) -> None:
    code, said = call(
        learnt / "train", "--model", learnt / "model", "--query", learnt / "made",
        "--rise", "0.005", "--kept", "2", *QUICK,
    )  # fmt: skip
    assert code == 0, said
    frame = pl.read_parquet(only() / "findings.parquet")
    sides = frame.select("query_id", "side").unique().sort("query_id", "side")
    assert sides.rows() == [
        ("like-07.png", "opponent"), ("like-07.png", "proponent"),
        ("like-23.png", "opponent"), ("like-23.png", "proponent"),
    ]  # fmt: skip
    for side, sign in (("proponent", 1), ("opponent", -1)):
        own = frame.filter(pl.col("side") == side)
        assert (sign * own["score"]).min() > 0
        assert (sign * own["influence"]).min() > 0
    assert not frame.filter(pl.col("side") == "opponent")["flagged"].any()


def test_one_image_by_outputs_and_under_no_other_noises(
    call: Call, learnt: Path, only: Callable[[], Path]
) -> None:
    code, said = call(
        learnt / "train", "--model", learnt / "model", "--query", learnt / "made" / "like-23.png",
        "--measure", "outputs", "--draws", "4", "--noises", "0",
    )  # fmt: skip
    assert code == 0
    assert "23.png" in said
    frame = pl.read_parquet(only() / "findings.parquet")
    assert frame["example_id"][0] == "23.png"
    assert frame["side"].unique().to_list() == ["proponent"]
    assert frame["found_again"].null_count() == frame.height
    assert "What recurs" not in (only() / "report.html").read_text(encoding="utf-8")


def test_what_the_model_never_saw_leans_on_nothing(
    call: Call, learnt: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    given = (learnt / "train", "--model", learnt / "model", "--query", tmp_path / "noise.png")
    code, said = call(*given, *QUICK, "--fail-on", "0.5")
    assert code == 0
    assert "leans on none of 40 training images alone" in said


def test_scores_that_fail_the_check_claim_nothing(
    call: Call, learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auditkit_diffusion import measuring

    def misled(values: measuring.Table) -> measuring.Table:
        return -standings(values)

    standings = measuring.standings
    monkeypatch.setattr(measuring, "standings", misled)
    code, said = call(
        learnt / "train", "--model", learnt / "model", "--query", learnt / "made", *QUICK,
        "--fail-on", "0.01",
    )  # fmt: skip
    assert code == 0
    assert "Not to be told: training images do not find themselves" in said
    assert "find themselves first: the rankings are not to be trusted" in said


def subject_file(path: Path, learnt: Path, *, queries: bool = True) -> str:
    asked = "made" if queries else "None"
    path.write_text(
        f"""
import numpy as np, torch, auditkit
from pathlib import Path
from PIL import Image
from torch import nn

class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1)
        )

    def forward(self, noisy, times):
        return self.net(noisy)

def pool(folder):
    paths = sorted(Path(folder).glob("*.png"))
    images = np.stack([np.asarray(Image.open(one), dtype=np.float32) for one in paths])
    return auditkit.Pool.from_arrays(images[:, None] / 127.5 - 1, ids=[one.name for one in paths])

def subject():
    made = pool({str(learnt / "made")!r})
    task = auditkit.DiffusionTask(Denoiser(), torch.linspace(0.99, 0.01, 50))
    return auditkit.Subject(task=task, train=pool({str(learnt / "train")!r}), queries={asked})
"""
    )
    return f"{path}:subject"


def test_a_denoiser_of_ones_own(call: Call, learnt: Path, tmp_path: Path) -> None:
    reference = subject_file(tmp_path / "own.py", learnt)
    code, said = call(reference, *QUICK)
    assert code == 0
    assert "generated images" in said
    for option, value in (
        ("--model", learnt / "model"), ("--query", learnt / "made"), ("--class", "7"),
        ("--prompt", "a seven"),
    ):  # fmt: skip
        code, said = call(reference, option, value)
        assert (code, f"{option} was given, and the subject is a Python" in said) == (2, True)
    code, said = call(subject_file(tmp_path / "none.py", learnt, queries=False))
    assert (code, "`Subject(queries=...)` or --query PATH" in said) == (2, True)


def test_other_tasks_are_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "from dataclasses import replace\nfrom auditkit.testing import tiny_subject\n\n"
        "def subject():\n    found = tiny_subject()\n"
        "    return replace(found, queries=found.train.subset([0]))\n"
    )
    code, said = call(f"{tmp_path / 'other.py'}:subject")
    assert code == 2
    assert "needs a subject with an auditkit.DiffusionTask and got a" in said


def test_bad_input_is_refused_in_one_sentence(call: Call, learnt: Path, tmp_path: Path) -> None:
    colour = np.zeros((8, 8, 3), dtype=np.uint8)
    colour[..., 0] = 200
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(colour[..., 0]).resize((9, 8)).save(tmp_path / "wide.png")
    flow = shutil.copytree(learnt / "model", tmp_path / "flow")
    FlowMatchEulerDiscreteScheduler().save_pretrained(flow / "scheduler")
    bare = shutil.copytree(learnt / "model", tmp_path / "bare")
    weights = bare / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    pickled = shutil.copytree(bare, tmp_path / "pickled")
    (pickled / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'x'\ntR.")
    good = learnt / "made" / "like-07.png"
    cases = [
        (learnt / "model", tmp_path / "wide.png", 3, "'wide.png' is 9 by 8 pixels"),
        (learnt / "model", tmp_path / "colour.png", 3, "'colour.png' is in colour"),
        (flow, good, 3, "The scheduler is a FlowMatchEulerDiscreteScheduler"),
        (bare, good, 3, "unet of bare holds no weights as safetensors (found none)"),
        (pickled, good, 3, "a pickle that could run code"),
        (tmp_path / "gone", good, 2, "There is no folder"),
        (learnt / "model", tmp_path / "gone.png", 2, "There is nothing at"),
    ]
    for model, query, expected, sentence in cases:
        code, said = call(learnt / "train", "--model", model, "--query", query)
        assert (code, sentence in said) == (expected, True), said
        assert "Traceback" not in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--rise", "0"), ("--draws", "-1"), ("--kept", "0"), ("--measure", "x")]
)
def test_settings_that_cannot_be_are_refused(
    call: Call, learnt: Path, option: str, value: str
) -> None:
    code, said = call(
        learnt / "train", "--model", learnt / "model", "--query", learnt / "made", option, value
    )
    assert code == 2
    assert option.strip("-") in said


def test_diffusers_not_installed_is_said(
    call: Call, learnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    code, said = call(learnt / "train", "--model", learnt / "model", "--query", learnt / "made")
    assert code == 2
    assert "pip install 'auditkit-influence[diffusion]'" in said
