"""Would the audited model's features find copies that the search for leaks does not?

    python -m benchmarks.leakage_features

A CNN with BatchNorm on Fashion-MNIST, as in `leakage_influence`. Training images are altered as the
audit plants them, and beyond that: turned, cropped further, a patch covered. For each kind: how
often the search names the original first; how often the original is among the 20 nearest by cosine
of the model's features; and how often the search names it if it is offered those beside its own.
`found` counts what is named and nearer than all but 1 % of strangers, which is about what can be
told from a stranger.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from auditkit_leakage.altering import IMAGES
from auditkit_leakage.content import Content
from auditkit_leakage.search import find
from PIL import Image

from auditkit import Pool
from benchmarks.fashion import read_images
from benchmarks.leakage.photographs import far_cropped
from benchmarks.leakage_influence import prepare, scaled

Pixels = npt.NDArray[np.uint8]
NEAREST, STRANGERS = 20, 1_000


def turned(image: Pixels, random: np.random.Generator) -> Pixels:
    """Turned by 5 to 15 degrees."""
    angle = random.uniform(5, 15) * random.choice([-1, 1])
    return np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BICUBIC))


def covered(image: Pixels, random: np.random.Generator) -> Pixels:
    """A square of 30 % of the side painted black."""
    side = round(0.3 * image.shape[0])
    top, left = random.integers(0, image.shape[0] - side, 2)
    painted = image.copy()
    painted[top : top + side, left : left + side] = 0
    return painted


KINDS = {**IMAGES, "turned": turned, "far crop": far_cropped, "covered": covered}


@click.command()
@click.option("--images", default=2_000)
@click.option("--queries", default=100)
@click.option("--epochs", default=12)
@click.option("--seed", default=0)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/results/leakage_features.json"),
)
def main(images: int, queries: int, epochs: int, seed: int, out: Path) -> None:
    """Train, search in both ways, write what each found."""
    made = prepare(epochs, images=images, seed=seed)
    known, train = _unit(made.engine.features()), Content("image", images=made.pixels)
    result: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d"), "accuracy on its training images": made.fitted,
    }  # fmt: skip
    strangers = Content("image", images=read_images("t10k")[0][:STRANGERS])
    edge = float(np.quantile(find(train, strangers, neighbours=1).distance, 0.01))
    for kind, alter in KINDS.items():
        random = np.random.default_rng([seed, 99])
        places = random.permutation(images)[:queries]
        asked = np.stack([alter(made.pixels[place], random) for place in places])
        found = find(train, Content("image", images=asked), neighbours=1)
        named = found.train == places
        pool = Pool.from_arrays(scaled(asked), made.labels[places])
        cosines = _unit(made.engine.features(pool)) @ known.T
        offered = np.argsort(-cosines, axis=1, kind="stable")[:, :NEAREST]
        near = [
            _again(train, asked[place], np.append(offered[place], found.train[place]))
            for place in range(queries)
        ]
        ours = np.array([train_place for train_place, _ in near]) == places
        distance = np.array([far for _, far in near])
        row = {
            "named": float(named.mean()),
            "found": float((named & (found.distance < edge)).mean()),
            "among the nearest by features": float((offered == places[:, None]).any(axis=1).mean()),
            "named, features offered too": float((named | ours).mean()),
            "found, features offered too": float(
                ((named & (found.distance < edge)) | (ours & (distance < edge))).mean()
            ),
        }
        result[kind] = row
        click.echo(f"{kind}: {json.dumps(row)}")
    out.write_text(json.dumps(result, indent=1) + "\n")


def _again(train: Content, query: Pixels, offered: npt.NDArray[np.int64]) -> tuple[int, float]:
    """The nearest of a few training images by alignment, and how far it is."""
    few = np.unique(offered)
    found = find(train.take(few), Content("image", images=query[None]), neighbours=1)
    return int(few[found.train[0]]), float(found.distance[0])


def _unit(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = features / np.maximum(lengths, 1e-12)
    return unit


if __name__ == "__main__":
    main()
