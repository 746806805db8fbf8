"""Folders of diffusers with the images their models were trained on, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from PIL import Image

from auditkit import DiffusionTask, ForwardINF, SourceOptions
from auditkit.errors import (
    AuditkitError,
    ColumnError,
    LabelError,
    PoolError,
    SettingError,
    SubjectReferenceError,
    TaskError,
    UnreadableError,
    UsageError,
)
from auditkit.sources import load

Bytes = npt.NDArray[np.uint8]


def unet(*, channels: int = 1, size: int = 8, classes: int | None = None) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=1,
        block_out_channels=(8, 8), down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4, num_class_embeds=classes,
    )  # fmt: skip


def save_pipeline(folder: Path, **settings: int) -> Path:
    DDPMPipeline(unet(**settings), DDPMScheduler(num_train_timesteps=50)).save_pretrained(folder)
    return folder


def write_images(root: Path, names: list[str], *, shape: tuple[int, ...] = (8, 8)) -> Path:
    random = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(root / name)
    return root


def options(model: Path | None, *generated: Path, **more: str | None) -> SourceOptions:
    return SourceOptions(diffusion=True, model_folder=model, generated=generated, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("models") / "grey")


def test_checkpoints_are_weights_of_the_same_denoiser(grey: Path, tmp_path: Path) -> None:
    train, made = write_images(tmp_path / "t", ["0.png"]), write_images(tmp_path / "g", ["g.png"])
    earlier = tmp_path / "epoch-1"
    model = UNet2DModel.from_pretrained(grey / "unet")
    with torch.no_grad():
        model.conv_in.bias.add_(1.0)
    model.save_pretrained(earlier)  # the U-Net alone, without a scheduler
    asked = replace(options(grey, made), checkpoints=(earlier,))
    subject = load(str(train), asked)
    own = subject.required_task().model.state_dict()
    [kept] = subject.checkpoints
    assert isinstance(kept, dict)
    assert [name for name in own if not torch.equal(kept[name], own[name])] == ["conv_in.bias"]
    assert "Checkpoints of its training are asked as well: epoch-1." in subject.description
    other = save_pipeline(tmp_path / "other", channels=3)
    with pytest.raises(TaskError, match=r"The checkpoint in other has no weight 'conv_in\.weight'"):
        load(str(train), replace(asked, checkpoints=(other,)))


def test_images_are_read_as_the_model_takes_them(grey: Path, tmp_path: Path) -> None:
    train = write_images(tmp_path / "train", ["a/0.png", "a/1.png", "b/0.png"])
    made = write_images(tmp_path / "made", ["g.png"])
    (train / "notes.txt").write_text("no image")
    subject = load(str(train), options(grey, made / "g.png"))
    assert "Left out: 1 files are no images by their extension." in subject.description
    assert subject.train.ids == ("a/0.png", "a/1.png", "b/0.png")
    assert subject.train.label == "label"
    assert subject.queries is not None
    assert subject.queries.ids == ("g.png",)
    pixels = np.asarray(Image.open(train / "a/1.png")).astype(np.float32)
    assert np.allclose(np.asarray(subject.train[1])[0], pixels / 127.5 - 1, atol=1e-6)
    task = subject.required_task()
    assert isinstance(task, DiffusionTask)
    assert len(task.schedule) == 50
    scores = ForwardINF(task.with_draws(timesteps=4), train=subject.train, rise=0.5).influence(
        subject.queries
    )
    assert scores.values.shape == (1, 3)
    assert (
        "3 images from train, 8 by 8 pixels, on which the model 'grey' was trained"
        in subject.description[0]
    )
    assert subject.fresh is not None
    assert not torch.equal(next(subject.fresh().parameters()), next(iter(task.model.parameters())))


def test_a_unet_alone_with_a_scheduler_beside_it(tmp_path: Path) -> None:
    unet().save_pretrained(tmp_path / "alone")
    DDPMScheduler(num_train_timesteps=20).save_pretrained(tmp_path / "alone")
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    subject = load(str(train), options(tmp_path / "alone", train / "0.png"))
    assert subject.train.label is None
    task = subject.required_task()
    assert isinstance(task, DiffusionTask)
    assert len(task.schedule) == 20


@pytest.mark.parametrize(
    ("folders", "codes", "said"),
    [
        (("cat", "dog"), [0, 1], "numbered by the alphabet, as 'cat' for 0"),
        (("10", "2"), [10, 2], "the numbers that name the class folders"),
    ],
)
def test_classes_are_numbered(
    tmp_path: Path, folders: tuple[str, str], codes: list[int], said: str
) -> None:
    model = save_pipeline(tmp_path / "model", classes=11)
    train = write_images(tmp_path / "train", [f"{name}/0.png" for name in folders])
    made = write_images(tmp_path / "made", [f"{folders[1]}/g.png", f"{folders[0]}/h.png"])
    subject = load(str(train), options(model, made))
    assert [int(subject.train[place][1]) for place in range(2)] == codes  # type: ignore[index]
    assert subject.queries is not None
    assert subject.queries.ids == tuple(sorted((f"{folders[1]}/g.png", f"{folders[0]}/h.png")))
    one = load(str(train), options(model, made / f"{folders[1]}/g.png"))
    assert one.queries is not None
    assert int(one.queries[0][1]) == codes[1]  # type: ignore[index]
    other = load(str(train), options(model, made, condition=folders[0]))
    assert other.queries is not None
    assert [int(other.queries[place][1]) for place in range(2)] == [codes[0]] * 2  # type: ignore[index]
    assert said in " ".join(subject.description)


def test_latent_models_are_given_latents(tmp_path: Path) -> None:
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=3, block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2, sample_size=16,
    )  # fmt: skip
    save_pipeline(tmp_path / "model", channels=3)
    vae.save_pretrained(tmp_path / "model" / "vae")
    train = write_images(tmp_path / "train", ["0.png", "1.png"], shape=(16, 16, 3))
    subject = load(str(train), options(tmp_path / "model", train / "1.png"))
    task = subject.required_task()
    assert isinstance(task, DiffusionTask)
    latent = task.prepared(subject.train, device=torch.device("cpu"))[0]
    assert latent[0].shape == (3, 8, 8)  # type: ignore[index]
    assert ForwardINF(task, train=subject.train).evaluate().loss.shape == (2,)


def prompts_model(folder: Path, more: dict[str, object] | None = None) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), norm_num_groups=4,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=12,
        attention_head_dim=4, **(more or {}),
    ).save_pretrained(folder / "unet")  # fmt: skip
    DDPMScheduler(num_train_timesteps=50).save_pretrained(folder / "scheduler")
    config = transformers.CLIPTextConfig(
        vocab_size=20, hidden_size=12, intermediate_size=12, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=6, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    tokenizers = pytest.importorskip("tokenizers")
    names = {word: place for place, word in enumerate(["<s>", "</s>", "<pad>", "a", "cat", "dog"])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, unk_token="<pad>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<pad>", eos_token="</s>",
        model_max_length=6,
    ).save_pretrained(folder / "tokenizer")  # fmt: skip
    return folder


def test_models_of_prompts_are_given_captions(tmp_path: Path) -> None:
    model = prompts_model(tmp_path / "model")
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    rows = [{"file_name": "0.png", "text": "a cat"}, {"file_name": "1.png", "text": "a dog"}]
    (train / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    subject = load(str(train), options(model, train / "1.png", prompt="a dog"))
    assert subject.queries is not None
    asked, first, second = subject.queries[0][1], subject.train[0][1], subject.train[1][1]  # type: ignore[index]
    assert torch.equal(asked, second)
    assert not torch.equal(asked, first)
    assert asked.shape == (6, 12)
    assert subject.train.metadata["caption"].to_list() == ["a cat", "a dog"]
    assert not any("Left out" in sentence for sentence in subject.description)
    engine = ForwardINF(subject.required_task(), train=subject.train, rise=0.5)
    assert np.isfinite(engine.influence(subject.queries).values).all()
    (train / "metadata.jsonl").write_text(json.dumps(rows[0]))
    with pytest.raises(ColumnError, match=r"no caption for '1\.png'"):
        load(str(train), options(model, train / "1.png", prompt="a dog"))
    (train / "metadata.jsonl").unlink()
    with pytest.raises(UsageError, match="holds no captions"):
        load(str(train), options(model, train / "1.png", prompt="a dog"))
    with pytest.raises(SettingError, match="--prompt TEXT"):
        load(str(train), options(model, train / "1.png"))


@pytest.mark.parametrize("own", [{"num_class_embeds": 3}, {"class_embed_type": "timestep"}])
def test_a_model_of_prompts_that_takes_classes_too_is_refused(
    tmp_path: Path, own: dict[str, object]
) -> None:
    model = prompts_model(tmp_path / "model", own)
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    with pytest.raises(TaskError, match=f"takes more than a prompt .{next(iter(own))}"):
        load(str(train), options(model, train / "1.png", prompt="a dog"))


def spoilt(grey: Path, tmp_path: Path, spoil: Callable[[Path], None]) -> Path:
    shutil.copytree(grey, tmp_path / "spoilt")
    spoil(tmp_path / "spoilt")
    return tmp_path / "spoilt"


def _pickled(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")


def _incomplete(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_in.weight"]
    save_file(weights, path)


def _not_numbers(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_in.bias"][0] = float("nan")
    save_file(weights, path)


def _configured(file: str, **entries: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return spoil


def _other_kind(folder: Path) -> None:
    path = folder / "unet/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "SomeTransformer"}))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda folder: (folder / "unet/diffusion_pytorch_model.safetensors").unlink(),
            UnreadableError, "unet of spoilt holds no weights as safetensors .found none",
        ),
        (_pickled, UnreadableError, "diffusion_pytorch_model.bin, a pickle that could run code"),
        (_incomplete, UnreadableError, "not whole: one is missing, 'conv_in.weight'"),
        (
            lambda folder: (folder / "unet/diffusion_pytorch_model.safetensors").write_text("no"),
            UnreadableError, r"safetensors in unet of spoilt is damaged .2 bytes",
        ),
        (
            lambda folder: FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler"),
            TaskError, "FlowMatchEulerDiscreteScheduler with no alphas_cumprod",
        ),
        (
            lambda folder: shutil.rmtree(folder / "scheduler"),
            UnreadableError, "scheduler_config.json of spoilt is missing",
        ),
        (_not_numbers, UnreadableError, "hold NaN or infinite numbers, in conv_in.bias first"),
        (
            _configured("unet/config.json", sample_size="big"),
            UnreadableError, "has 'big' for sample_size",
        ),
        (
            _configured("unet/config.json", norm_num_groups=0),
            UnreadableError, "The unet of spoilt cannot be loaded",
        ),
        (
            _configured("scheduler/scheduler_config.json", beta_schedule="odd"),
            UnreadableError, "The scheduler of spoilt cannot be loaded: odd is not implemented",
        ),
        (
            _configured("scheduler/scheduler_config.json", num_train_timesteps=-5),
            UnreadableError, "The scheduler of spoilt cannot be loaded",
        ),
        (_other_kind, TaskError, "a SomeTransformer: expected one of UNet2DModel"),
        (
            lambda folder: (folder / "unet/config.json").write_text("[1"),
            UnreadableError, "config.json of unet cannot be read",
        ),
    ],
)  # fmt: skip
def test_a_folder_that_holds_no_sound_model_is_refused(
    grey: Path, tmp_path: Path, spoil: Callable[[Path], None], error: type[AuditkitError],
    message: str,
) -> None:  # fmt: skip
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    model = spoilt(grey, tmp_path, spoil)
    with pytest.raises(error, match=message):
        load(str(train), options(model, train / "0.png"))


def test_images_of_another_size_or_colour_are_refused(grey: Path, tmp_path: Path) -> None:
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    large = write_images(tmp_path / "large", ["g.png"], shape=(9, 8))
    colour = write_images(tmp_path / "colour", ["g.png"], shape=(8, 8, 3))
    with pytest.raises(
        PoolError, match=r"'g\.png' is 8 by 9 pixels and the model 'grey' makes images of 8 by 8"
    ):
        load(str(train), options(grey, large))
    with pytest.raises(
        PoolError, match=r"'g\.png' is in colour and the model 'grey' makes grey images"
    ):
        load(str(train), options(grey, colour / "g.png"))
    with pytest.raises(PoolError, match="is in colour"):
        load(str(colour), options(grey, train))
    model = save_pipeline(tmp_path / "coloured", channels=3)
    with pytest.raises(PoolError, match="is grey and the model 'coloured' makes images in colour"):
        load(str(colour), options(model, train / "0.png"))
    subject = load(str(train), options(model, colour))
    assert "2 grey images are taken as colour images." in subject.description


def test_what_is_asked_for_must_be_there(grey: Path, tmp_path: Path) -> None:
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    made = write_images(tmp_path / "made", ["g.png"])
    classed = save_pipeline(tmp_path / "classed", classes=1)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "train.csv").write_text("a\n1\n")
    refused: list[tuple[Path, SourceOptions, type[AuditkitError], str]] = [
        (train, options(None, made), SettingError, "--model DIR"),
        (train, options(grey), SettingError, "--query PATH"),
        (train, options(tmp_path / "gone", made), SubjectReferenceError, "There is no folder"),
        (train, options(grey, tmp_path / "made/h.png"), SubjectReferenceError, "There is nothing"),
        (
            train,
            options(grey, tmp_path / "notes.txt"),
            SubjectReferenceError,
            "no image by its ext",
        ),
        (tmp_path / "train.csv", options(grey, made), SubjectReferenceError, "is no folder"),
        (
            train,
            options(grey, made, condition="cat"),
            SettingError,
            "the model 'grey' knows no classes",
        ),
        (train, options(grey, made, prompt="a cat"), SettingError, "the model 'grey' takes none"),
        (train, options(grey, made, label="kind"), SettingError, "--label was given"),
        (train, options(classed, made), LabelError, "'0.png' of train is in no class folder"),
    ]
    for root, given, error, message in refused:
        with pytest.raises(error, match=message):
            load(str(root), given)
    two = write_images(tmp_path / "two", ["cat/0.png", "dog/0.png"])
    with pytest.raises(LabelError, match="2 class folders and the model knows 1 classes"):
        load(str(two), options(classed, made))
    both = save_pipeline(tmp_path / "both", classes=2)
    with pytest.raises(SettingError, match=r"Which class is 'g\.png' of"):
        load(str(two), options(both, made))
    with pytest.raises(LabelError, match="There is no class 'cow'"):
        load(str(two), options(both, made, condition="cow"))


def test_broken_images_are_skipped_and_too_many_refused(grey: Path, tmp_path: Path) -> None:
    train = write_images(tmp_path / "train", [f"{place:02}.png" for place in range(20)])
    (train / "03.png").write_bytes(b"\x89PNG broken")
    subject = load(str(train), options(grey, train / "00.png"))
    assert len(subject.train) == 19
    assert "Unreadable images skipped: 1 ('03.png' first)." in subject.description
    for place in range(4, 8):
        (train / f"{place:02}.png").write_bytes(b"broken")
    with pytest.raises(UnreadableError, match="5 of 20 images cannot be read"):
        load(str(train), options(grey, train / "00.png"))


def test_a_short_schedule_is_taken_whole(tmp_path: Path) -> None:
    DDPMPipeline(unet(), DDPMScheduler(num_train_timesteps=8)).save_pretrained(tmp_path / "model")
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    task = load(str(train), options(tmp_path / "model", train / "0.png")).required_task()
    assert isinstance(task, DiffusionTask)
    assert (len(task.schedule), task.timesteps) == (8, 8)


def test_class_folders_with_numbers_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    model = save_pipeline(tmp_path / "model", classes=5)
    train = write_images(tmp_path / "train", ["1/0.png", "7/0.png"])
    with pytest.raises(LabelError, match="numbers up to 7 and the model knows 5 classes, 0 to 4"):
        load(str(train), options(model, train / "1/0.png"))


def test_a_generated_image_is_asked_about_once_and_named_by_its_place(
    grey: Path, tmp_path: Path
) -> None:
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    made = write_images(tmp_path / "made", ["a/0.png", "b/0.png"])
    subject = load(str(train), options(grey, made, made / "a" / "0.png"))
    assert subject.queries is not None
    assert subject.queries.ids == ("a/0.png", "b/0.png")
    subject = load(str(train), options(grey, made / "a/0.png", made / "b"))
    assert subject.queries is not None
    assert subject.queries.ids == ("a/0.png", "b/0.png")
    (made / "broken.png").write_bytes(b"no")
    with pytest.raises(UnreadableError, match=r"The image 'broken\.png' cannot be read: it is"):
        load(str(train), options(grey, made / "broken.png"))


def test_other_pipelines_of_diffusers_are_read_alike(tmp_path: Path) -> None:
    DDIMPipeline(unet(), DDIMScheduler(prediction_type="v_prediction")).save_pretrained(
        tmp_path / "ddim"
    )
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    task = load(str(train), options(tmp_path / "ddim", train / "0.png")).required_task()
    assert isinstance(task, DiffusionTask)
    assert task.schedule.prediction == "v_prediction"


def test_many_pixels_are_read_when_asked_for(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = write_images(tmp_path / "train", ["0.png", "1.png"])
    kept = load(str(train), options(grey, train / "0.png"))
    monkeypatch.setattr("auditkit.sources.exact._KEPT", 100)
    read = load(str(train), options(grey, train / "0.png"))
    assert torch.equal(torch.as_tensor(kept.train[1]), torch.as_tensor(read.train[1]))
    (train / "1.png").unlink()
    with pytest.raises(UnreadableError, match="can no longer be read"):
        read.train[1]
