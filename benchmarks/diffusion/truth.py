"""What really happens: the denoiser customized anew on random halves of the training images.

    python -m benchmarks.diffusion.truth --cache FOLDER

The base model, the model that is explained, its queries and every finished retraining are files in
the cache; a second call goes on from there.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from auditkit.truth import Halves
from benchmarks.diffusion.data import PER_GROUP, STYLES, Candidates, Images, altered, candidates
from benchmarks.diffusion.model import EPOCHS, base, denoiser, generated, losses, trained

CACHE = Path("benchmarks/.cache/diffusion")
TRIED, SUBSETS = 16, 90
"""Half-subsets that settings are tried on, and those behind the figures; none is in both."""

KINDS = ("generated", "unconditional", "altered")
PER_STYLE = {"tried": 4, "reported": 8}
"""Queries of each kind per style in a round; unconditional ones as many in all."""

ROUNDS = {"tried": (0,), "reported": (1, 2)}
"""Rounds of queries, by their seeds. An exemplar is altered in another way in each."""

GENERATED = 64
"""How many images are generated of each group in a round, of which queries are chosen."""

CHECKPOINTS = (EPOCHS // 3, 2 * EPOCHS // 3)
TIMES, NOISES = 20, 2


@dataclass(frozen=True)
class Queries:
    """Images that are explained.

    Attributes:
        images: float32 [query, 4, 8, 8].
        groups: int64 [query]; 0 for none.
        rounds: int64 [query]; those of one round and group are explained together, too.
    """

    images: Images
    groups: npt.NDArray[np.int64]
    rounds: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Explained:
    """The model that is explained: customized on all candidates.

    Attributes:
        model: the denoiser.
        checkpoints: its weights at a third and two thirds of the training.
        queries: by kind and use, as in `"generated, reported"`.
    """

    model: UNet2DModel
    checkpoints: tuple[dict[str, Tensor], ...]
    queries: dict[str, Queries]


def explained(cache: Path, data: Candidates) -> Explained:
    """The model and its queries out of the cache, made where it has none."""
    start = base_weights(cache)
    names = ["trained", *(f"after-{epoch}-epochs" for epoch in CHECKPOINTS)]
    files = [cache / f"{name}.safetensors" for name in names]
    if not all(file.exists() for file in files):
        model, kept = trained(data, np.arange(len(data.images)), start=start, keep=CHECKPOINTS)
        for file, weights in zip(files, [model.state_dict(), *kept], strict=True):
            save_file(weights, file)
    model = loaded(files[0])
    return Explained(model, tuple(load_file(file) for file in files[1:]), _queries(model, data))


def base_weights(cache: Path) -> dict[str, Tensor]:
    """The weights that every training begins from."""
    file = cache / "base.safetensors"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        save_file(base().state_dict(), file)
    return load_file(file)


def loaded(file: Path) -> UNet2DModel:
    """A denoiser with the weights of a file."""
    model = denoiser().eval()
    model.load_state_dict(load_file(file))
    return model


def members(count: int) -> npt.NDArray[np.bool_]:
    """Random halves of the candidates, bool [subset, train], those for trying first."""
    rng = np.random.default_rng(50)
    chosen = np.zeros((TRIED + SUBSETS, count), dtype=bool)
    for row in chosen:
        row[rng.permutation(count)[: count // 2]] = True
    return chosen


def halves(cache: Path, data: Candidates, name: str, queries: Queries) -> Halves:
    """What the queries of that name measure under the retrainings that are finished.

    Raises:
        click.ClickException: fewer than three are.
    """
    use = slice(0, TRIED) if name.endswith("tried") else slice(TRIED, TRIED + SUBSETS)
    chosen = members(len(data.images))
    done = [row for row in range(len(chosen))[use] if weights_file(cache, row).exists()]
    if len(done) < 3:
        raise click.ClickException(f"{cache} holds {len(done)} retrainings for {name}: run truth.")
    values = np.stack([_measured(cache, row, name, queries) for row in done])
    measures = values.mean(axis=2)
    return Halves(
        members=chosen[done],
        measures=measures,
        by_seed=measures[:, None],
        query_ids=tuple(map(str, range(len(queries.images)))),
        train_ids=tuple(map(str, range(len(data.images)))),
        measure="loss",
    )


def digest(images: Images) -> str:
    """Stands for images in names of files: what is kept of other images is not taken for theirs."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:12]


def weights_file(cache: Path, row: int) -> Path:
    """Where the weights of one retraining are kept."""
    return cache / f"half-{row:03}.safetensors"


def _measured(cache: Path, row: int, name: str, queries: Queries) -> npt.NDArray[np.float32]:
    """Losses [query, time] of the queries under one retrained model, kept in a file."""
    stem = f"{row:03}-{name.replace(', ', '-')}-{digest(queries.images)}"
    file = cache / "measured" / f"{stem}.npy"
    if not file.exists():
        found = losses(
            loaded(weights_file(cache, row)), queries.images, times=TIMES, noises=NOISES, seed=77
        )
        file.parent.mkdir(exist_ok=True)
        np.save(file.with_suffix(".part.npy"), found)
        file.with_suffix(".part.npy").replace(file)
    return np.asarray(np.load(file))


def _queries(model: UNet2DModel, data: Candidates) -> dict[str, Queries]:
    found = {}
    for use, seeds in ROUNDS.items():
        parts = [_round(model, data, PER_STYLE[use], seed=seed) for seed in seeds]
        groups = np.tile(np.repeat(np.arange(1, len(STYLES) + 1), PER_STYLE[use]), len(seeds))
        rounds = np.repeat(seeds, len(groups) // len(seeds))
        for kind in KINDS:
            of = np.zeros_like(groups) if kind == "unconditional" else groups
            images = np.concatenate([part[kind] for part in parts])
            found[f"{kind}, {use}"] = Queries(images, of, rounds)
    return found


def _round(model: UNet2DModel, data: Candidates, each: int, *, seed: int) -> dict[str, Images]:
    """The images of one round by kind, so many of each style."""
    groups = np.repeat(np.arange(1, len(STYLES) + 1), each)
    turn = (np.arange(len(groups)) % each + seed) % PER_GROUP
    rows = [data.exemplars(group)[place] for group, place in zip(groups, turn, strict=True)]
    return {
        "generated": _alike(model, data, each, seed=100 + seed),
        "unconditional": generated(model, [0] * len(groups), seed=200 + seed),
        "altered": altered(data.images[rows], seed=seed),
    }


def _alike(model: UNet2DModel, data: Candidates, each: int, *, seed: int) -> Images:
    """Of many images generated of each group, those most like its exemplars, by pixels.

    A generated image need not show what it was asked for. Judged by its distance to the nearest
    exemplar, against that to the nearest other candidate: the choice can only favour pixel L2.
    """
    pixels, chosen = data.images.reshape(len(data.images), -1), []
    for group in range(1, len(STYLES) + 1):
        images = generated(model, [group] * GENERATED, seed=10 * seed + group)
        distances = ((images.reshape(GENERATED, 1, -1) - pixels) ** 2).sum(axis=2)
        own = data.groups == group
        likeness = distances[:, own].min(axis=1) / distances[:, ~own].min(axis=1)
        chosen.append(images[np.argsort(likeness)[:each]])
    return np.concatenate(chosen)


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
@click.option("--from-the-end", is_flag=True, help="For a second process beside the first.")
def main(cache: Path, *, from_the_end: bool) -> None:
    """Train what the cache does not hold yet, and measure all queries."""
    torch.set_num_threads(1)
    data = candidates()
    start, chosen = base_weights(cache), members(len(data.images))
    for row in reversed(range(len(chosen))) if from_the_end else range(len(chosen)):
        if not weights_file(cache, row).exists():
            model, _ = trained(data, np.flatnonzero(chosen[row]), start=start)
            unfinished = weights_file(cache, row).with_suffix(f".{os.getpid()}.part")
            save_file(model.state_dict(), unfinished)
            unfinished.replace(weights_file(cache, row))
            click.echo(f"{row + 1} of {len(chosen)} halves trained", err=True)
    for name, queries in explained(cache, data).queries.items():
        halves(cache, data, name, queries)


if __name__ == "__main__":
    main()
