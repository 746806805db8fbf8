"""Leaks among photographs, through the real command: recall by kind at a precision of .95.

    mkdir -p photographs
    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 lxqt-themes \
        mate-backgrounds plasma-workspace-wallpapers python3-skimage
    for package in *.deb; do dpkg -x "$package" photographs; done
    python -m benchmarks.leakage.photographs --folder photographs

59 photographs from Debian packages and from scikit-learn, cut into tiles that do not overlap and
scaled to 96 to 256 pixels a side; what is nearly one colour is left out. Clean evaluation tiles are
of other photographs than the training tiles (`other photographs`), or of the same ones, so that
neighbouring pieces of one sky lie on both sides (`same photographs`). Copies are made by the
audit's own alterations and by some that it does not plant. Constants of the search were chosen on
the tiles of every second photograph.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import polars as pl
from auditkit_leakage.altering import IMAGES, brightened, compressed, cropped
from auditkit_leakage.content import Content
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.leakage.__main__ import threshold
from benchmarks.leakage.cases import Case
from benchmarks.leakage.ways import perceptual
from benchmarks.leakage_real import Split, run

Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator
Tiles = dict[str, list[Pixels]]
Table = dict[str, npt.NDArray[np.generic]]

NAMES = [
    "Bridge_by_Sander_Klootwijk",
    "Dragonfly_by_Bolly",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede",
    "aitzgorri_by_Aitzol_Berasategi",
    "free_by_Peter_Nerlich",
    "friends_by_Aitzol_Berasategi",
    "greentock_by_Peter_Nerlich",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt",
    "sunset_by_Aitzol_Berasategi",
    "Kleiber_by_Lukas_Baubkus",
    "Butterfly-Kenneth-Wimer",
    "Valendas",
    "after-the-rain",
    "appleflower",
    "beam",
    "butterfly",
    "cloud",
    "drop",
    "flowers",
    "fog",
    "this-is-not-windows",
    "Aqua",
    "Blinds",
    "Dune",
    "FreshFlower",
    "Garden",
    "GreenMeadow",
    "LadyBird",
    "RainDrops",
    "Storm",
    "TwoWings",
    "Wood",
    "YellowFlower",
    "Autumn",
    "BytheWater",
    "ColdRipple",
    "ColorfulCups",
    "DarkestHour",
    "EveningGlow",
    "FallenLeaf",
    "Grey",
    "Kite",
    "OneStandsOut",
    "Path",
    "summer_1am",
    "astronaut",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "motorcycle_left",
    "rocket",
    "hubble_deep_field",
]
"""Stems of files that are photographs; wallpapers of Plasma by the name of their folder."""

SIDES = (96, 256)
PLAIN = 12
"""Standard deviation of grey levels below which a tile is left out."""


def few_pixels(image: Pixels, random: Random) -> Pixels:
    """Moved by up to four pixels along each axis, not by none; what comes in is black."""
    down, right = 0, 0
    while (down, right) == (0, 0):
        down, right = (int(move) for move in random.integers(-4, 5, 2))
    height, width = image.shape[:2]
    moved = np.zeros_like(image)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def window(image: Pixels, random: Random) -> Pixels:
    """Four pixels cut off along each axis, and not scaled back."""
    top, left = (int(place) for place in random.integers(0, 5, 2))
    return image[top : image.shape[0] - 4 + top, left : image.shape[1] - 4 + left].copy()


def resized(image: Pixels, random: Random) -> Pixels:
    """At 40 to 80 % of its size."""
    share = random.uniform(0.4, 0.8)
    size = round(image.shape[1] * share), round(image.shape[0] * share)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def several(image: Pixels, random: Random) -> Pixels:
    """Cropped, made brighter or darker, and compressed."""
    return compressed(brightened(cropped(image, random), random), random)


def far_cropped(image: Pixels, random: Random) -> Pixels:
    """A part of 55 to 78 % of both sides, scaled back."""
    height, width = image.shape[:2]
    share = random.uniform(0.55, 0.78)
    top, left = random.uniform(0, 1 - share, 2) * (height, width)
    box = (left, top, left + share * width, top + share * height)
    scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(scaled)


def turned(image: Pixels, random: Random) -> Pixels:
    """Turned by 2 to 6 degrees; the corners that come in are black."""
    angle = random.uniform(2, 6) * random.choice([-1, 1])
    return np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BICUBIC))


KINDS: dict[str, Callable[[Pixels, Random], Pixels]] = {
    **IMAGES,
    "few pixels": few_pixels,
    "window": window,
    "resized": resized,
    "several": several,
    "far crop": far_cropped,
    "turned": turned,
}
"""The last three go beyond what the audit says it finds."""


def tiles(folder: Path, random: Random) -> Tiles:
    """The tiles of each photograph."""
    found = {name: _cut(Image.open(_path(folder, name)).convert("RGB"), random) for name in NAMES}
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        found[name] = _cut(Image.fromarray(pixels), random)
    return found


def _path(folder: Path, name: str) -> Path:
    paths = [
        path
        for path in sorted(folder.rglob("*.[jp][pn]g"))
        if not path.is_symlink()
        and (path.stem == name or path.parts[-4:-1] == (name, "contents", "images"))
    ]
    if not paths:
        raise click.ClickException(
            f"There is no photograph {name!r} in {folder}: unpack the packages there that the head "
            "of this file names."
        )
    return paths[0]


def _cut(photograph: Image.Image, random: Random) -> list[Pixels]:
    """Up to six tiles along the shorter side, each at a size of its own."""
    width, height = photograph.size
    cell = min(width, height) // max(1, min(6, min(width, height) // 100))
    kept = []
    for top in range(0, height - cell + 1, cell):
        for left in range(0, width - cell + 1, cell):
            side = int(random.integers(SIDES[0], min(SIDES[1], cell) + 1))
            part = photograph.crop((left, top, left + cell, top + cell))
            tile = np.asarray(part.resize((side, side), Image.Resampling.LANCZOS))
            if tile.mean(axis=2).std() >= PLAIN:
                kept.append(tile)
    return kept


def case(cut: Tiles, seed: int, *, each: int, same: bool) -> Case:
    """About two thirds of the tiles for training; the others, and `each` copies of every kind."""
    random = np.random.default_rng([seed, 0xF0705])
    names = [sorted(cut)[place] for place in random.permutation(len(cut))]
    if same:
        every = [tile for name in names for tile in cut[name]]
        mixed = [every[place] for place in random.permutation(len(every))]
        train, clean = mixed[: 2 * len(mixed) // 3], mixed[2 * len(mixed) // 3 :]
    else:
        first = 2 * len(names) // 3
        train = [tile for name in names[:first] for tile in cut[name]]
        clean = [tile for name in names[first:] for tile in cut[name]]
    kinds = [name for name in KINDS for _ in range(each)]
    source = random.permutation(len(train))[: len(kinds)]
    copies = [KINDS[kind](train[at], random) for kind, at in zip(kinds, source, strict=True)]
    return Case(
        Content("image", images=tuple(train)),
        Content("image", images=(*copies, *clean)),
        np.concatenate([source, np.full(len(clean), -1)]),
        np.array([*kinds, *[""] * len(clean)]),
        np.zeros(len(kinds) + len(clean), bool),
    )


def through_the_command(made: Case, folder: Path) -> tuple[Table, float]:
    """What the command says of a case written as two flat folders, and its seconds."""
    for part, content in (("train", made.train), ("test", made.evaluation)):
        (folder / part).mkdir(parents=True)
        for place, pixels in enumerate(content.pictures):
            Image.fromarray(pixels).save(folder / part / f"{place:05}.png", compress_level=1)
    start = time.perf_counter()
    paths = (folder / "train", folder / "test")
    found = run(Split(paths, {}, {}, ("--no-model",)), folder / "runs")
    seconds = time.perf_counter() - start
    frame = pl.read_parquet(found / "findings.parquet").sort("example_id")
    names = [f"{place:05}.png" for place in made.source]
    right = np.array([a == b for a, b in zip(frame["other_id"], names, strict=True)])
    distance = np.where(frame["identical"], -1.0, frame["distance"].fill_null(np.inf).to_numpy())
    return _table(made, right, distance) | {"flagged": frame["flagged"].to_numpy()}, seconds


def _table(made: Case, right: npt.NDArray[np.bool_], distance: npt.NDArray[np.float64]) -> Table:
    planted = made.source >= 0
    return {
        "planted": planted, "right": right & planted, "copy": np.zeros(len(planted), bool),
        "kind": made.kind, "distance": distance,
    }  # fmt: skip


def figures(tables: Sequence[Table]) -> dict[str, object]:
    """Recall by kind at one threshold for all seeds, and of what is flagged."""
    table = {key: np.concatenate([one[key] for one in tables]) for key in tables[0]}
    right, planted = table["right"].astype(bool), table["planted"].astype(bool)
    below = table["distance"] <= threshold(table, natural=True)
    result: dict[str, object] = {"recall": _by_kind(table["kind"], right & below)}
    if "flagged" in table:
        flagged = table["flagged"].astype(bool)
        result |= {
            "recall of what is flagged": _by_kind(table["kind"], right & flagged),
            "precision of what is flagged": float((planted & flagged).sum() / flagged.sum()),
            "clean, flagged": int((flagged & ~planted).sum()),
            "clean": int((~planted).sum()),
        }
    return result


def _by_kind(kind: npt.NDArray[np.generic], values: npt.NDArray[np.bool_]) -> dict[str, float]:
    return {name: round(float(values[kind == name].mean()), 4) for name in KINDS}


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("photographs"))
@click.option("--seeds", default=2)
@click.option("--each", default=20)
@click.option("--only", type=click.Choice(["other photographs", "same photographs"]), default=None)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/results/leakage_photographs.json"),
)
def main(folder: Path, seeds: int, each: int, only: str | None, out: Path) -> None:
    """Make the tiles, plant copies, run the command, write what was found."""
    cut = tiles(folder, np.random.default_rng(0))
    result: dict[str, object] = json.loads(out.read_text()) if out.exists() else {}
    result |= {
        "date": time.strftime("%Y-%m-%d"),
        "photographs": len(cut),
        "tiles": sum(map(len, cut.values())),
        "seeds": seeds,
        "planted of each kind and seed": each,
    }
    for name, same in (("other photographs", False), ("same photographs", True)):
        if only not in (None, name):
            continue
        found, hashed, seconds = [], [], []
        for seed in range(seeds):
            made = case(cut, 100 + seed, each=each, same=same)
            with tempfile.TemporaryDirectory() as place:
                table, spent = through_the_command(made, Path(place))
            found.append(table)
            seconds.append(spent)
            nearest = perceptual(made)
            hashed.append(_table(made, nearest.train == made.source, nearest.distance))
        result[name] = {
            "auditkit": figures(found),
            "perceptual hash": figures(hashed),
            "seconds": [round(one) for one in seconds],
        }
        click.echo(json.dumps(result[name]))
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
