"""`auditkit diffusion` on each kind of diffusion model: of classes, of prompts, and of latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from auditkit.cli import main

Bytes = npt.NDArray[np.uint8]
Call = Callable[..., tuple[int, str]]
FEW = ("--draws", "4", "--noises", "1", "--kept", "3")
NAMES = [f"{place:02}.png" for place in range(12)]
KINDS = ("bow", "arch")


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs `auditkit diffusion` on `train`; gives the exit code and what was said."""

    def run(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([
                "diffusion", str(tmp_path / "train"), "--model", str(tmp_path / "model"),
                *map(str, arguments), "--out", str(tmp_path / "runs"),
            ])  # fmt: skip
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return int(caught.value.code or 0), " ".join((said.out + said.err).split())

    return run


def pictures(folder: Path, names: list[str], *shape: int) -> Bytes:
    """Blurred noise as files of these names."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (len(names), shape[0] // 2, shape[1] // 2, *shape[2:]))
    found = small.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)
    for name, own in zip(names, found, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(own).save(folder / name)
    return found


def findings(root: Path) -> pl.DataFrame:
    """Of the last run, whose rows are as they should be whatever the model learnt."""
    path = max((root / "runs").glob("*/findings.parquet"), key=lambda own: own.stat().st_mtime_ns)
    frame = pl.read_parquet(path)
    sign = pl.when(pl.col("side") == "proponent").then(1).otherwise(-1)
    assert frame.select((sign * pl.col("influence") > 0).all()).item()
    assert frame.group_by("query_id", "side").len()["len"].max() == 3
    assert frame["found_again"].is_in([0.0, 1.0]).all()
    for name in ("pixel_rank", "feature_rank"):
        assert frame[name].is_between(1, len(NAMES)).all()
    return frame


def unet(channels: int, *, classes: int | None = None) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8, in_channels=channels, out_channels=channels, layers_per_block=1,
        block_out_channels=(8, 8), down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4, num_class_embeds=classes,
        add_attention=False,
    ).eval()  # fmt: skip


def test_a_model_of_classes(call: Call, tmp_path: Path) -> None:
    DDPMPipeline(unet(1, classes=2), DDPMScheduler()).save_pretrained(tmp_path / "model")
    names = [f"{KINDS[place % 2]}/{name}" for place, name in enumerate(NAMES)]
    images = pictures(tmp_path / "train", names, 8, 8)
    for place in (0, 3):
        made = tmp_path / "made" / KINDS[place % 2] / "made.png"
        made.parent.mkdir(parents=True)
        Image.fromarray(images[place]).save(made)
    code, said = call("--query", tmp_path / "made", *FEW)
    assert code == 0, said
    assert "The 2 classes are numbered by the alphabet, as 'arch' for 0" in said
    assert "Classes of the generated images: arch (1), bow (1)." in said
    frame = findings(tmp_path)
    assert sorted(frame["query_id"].unique()) == ["arch/made.png", "bow/made.png"]
    assert (frame["label"] == frame["example_id"].str.split("/").list.first()).all()
    copies = {"bow/made.png": "bow/00.png", "arch/made.png": "arch/03.png"}
    for row in frame.iter_rows(named=True):
        assert (row["pixel_rank"] == 1) == (row["example_id"] == copies[row["query_id"]])
    code, said = call("--query", tmp_path / "made/bow/made.png", "--class", "arch", *FEW)
    assert (code, "Classes of the generated images: arch (1)." in said) == (0, True)
    under_its_own = frame.filter(pl.col("query_id") == "bow/made.png")["influence"]
    assert findings(tmp_path)["influence"].to_list() != under_its_own.to_list()
    code, said = call("--query", tmp_path / "made", "--class", "cow")
    assert (code, "There is no class 'cow': did you mean 'bow'?" in said) == (3, True)


def prompted(folder: Path) -> Path:
    """A pipeline of prompts and latents, each part as small as it can be."""
    torch.manual_seed(0)
    words = folder / "words"
    words.mkdir(parents=True)
    signs = [*"abcdefghijklmnopqrstuvwxyz", *(f"{own}</w>" for own in "abcdefghijklmnopqrstuvwxyz")]
    signs += ["<|startoftext|>", "<|endoftext|>"]
    (words / "vocab.json").write_text(json.dumps({own: place for place, own in enumerate(signs)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=12
    )
    config = CLIPTextConfig(
        vocab_size=len(signs), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=12, bos_token_id=52, eos_token_id=53,
        pad_token_id=53,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=2, sample_size=16,
        ),
        text_encoder=CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4,
            block_out_channels=(8, 8), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=8,
            attention_head_dim=4,
        ),
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "model")  # fmt: skip
    return folder / "model"


def captions(folder: Path, column: str = "text") -> None:
    rows = [{"file_name": name, column: f"a {KINDS[p % 2]}"} for p, name in enumerate(NAMES)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_a_latent_model_of_prompts(call: Call, tmp_path: Path) -> None:
    model = prompted(tmp_path)
    images = pictures(tmp_path / "train", NAMES, 16, 16, 3)
    captions(tmp_path / "train", "told")
    Image.fromarray(images[3]).save(tmp_path / "made.png")
    asked = ("--query", tmp_path / "made.png", "--text", "told")
    code, said = call(*asked, "--prompt", "an arch", *FEW)
    assert code == 0, said
    assert "12 images from train, 16 by 16 pixels, on which the model 'model' was trained" in said
    assert "Captions are the column 'told'." in said
    assert "The prompt of the generated images is 'an arch'." in said
    assert findings(tmp_path)["query_id"].unique().to_list() == ["made.png"]
    assert "Loading" not in said, "no bars of libraries"
    code, said = call(*asked)
    assert (code, "say with --prompt TEXT which one" in said) == (2, True)
    code, said = call("--query", tmp_path / "made.png", "--prompt", "an arch")
    assert (code, "metadata.jsonl has no column 'text': known: file_name, told." in said) == (
        2,
        True,
    )
    weights = model / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    code, said = call(*asked, "--prompt", "an arch")
    assert (code, "model.safetensors in text_encoder of model is damaged" in said) == (3, True)
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 1


def test_parts_that_were_not_trained_together_are_refused(call: Call, tmp_path: Path) -> None:
    model = prompted(tmp_path)
    pictures(tmp_path / "train", NAMES, 16, 16, 3)
    captions(tmp_path / "train")
    asked = ("--query", tmp_path / "train" / "03.png", "--prompt", "an arch")
    config = json.loads((model / "text_encoder/config.json").read_text())
    for other, sentence in (
        ({"hidden_size": 12}, "gives 12 features a token and the denoiser takes 8"),
        ({"vocab_size": 50}, "knows 54 tokens and the text encoder 50"),
    ):
        CLIPTextModel(CLIPTextConfig.from_dict(config | other)).save_pretrained(
            model / "text_encoder"
        )
        code, said = call(*asked)
        assert (code, sentence in said) == (3, True), said
    CLIPTextModel(CLIPTextConfig.from_dict(config)).save_pretrained(model / "text_encoder")
    vae = AutoencoderKL.from_pretrained(model / "vae")
    AutoencoderKL.from_config({**vae.config, "latent_channels": 2}).save_pretrained(model / "vae")
    code, said = call(*asked)
    assert (code, "takes 4 channels and its autoencoder gives 2" in said) == (3, True), said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("measure", ["loss", "squared-norm"])
def test_a_latent_model_without_prompts(call: Call, tmp_path: Path, measure: str) -> None:
    encoder = VQModel(
        in_channels=3, out_channels=3, latent_channels=3, block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2, sample_size=16, num_vq_embeddings=8,
    )  # fmt: skip
    LDMPipeline(encoder, unet(3), DDIMScheduler()).save_pretrained(tmp_path / "model")
    images = pictures(tmp_path / "train", NAMES, 16, 16, 3)
    Image.fromarray(images[5]).save(tmp_path / "made.png")
    code, said = call("--query", tmp_path / "made.png", "--measure", measure, *FEW)
    assert code == 0, said
    assert findings(tmp_path)["query_id"].unique().to_list() == ["made.png"]
    [record] = (tmp_path / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["summary"]["measured"] == measure
