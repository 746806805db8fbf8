"""Altered copies of examples, made on purpose, so that a run can measure its own search."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from auditkit_leakage.content import Content, Pixels

Random = np.random.Generator


def planted(
    content: Content, positions: Sequence[int] | npt.NDArray[np.int64], *, seed: int
) -> tuple[Content, list[str]]:
    """Altered copies of the examples at `positions`, and how each was altered, in words.

    Every alteration of the modality comes equally often, in random order, with random parameters.

    Args:
        content: the pool to copy from.
        positions: which examples, in the order of the result.
        seed: for the order and the parameters.
    """
    places = np.asarray(positions, dtype=np.int64)
    random = np.random.default_rng([seed % 2**64, 0x1EAC])
    chosen = content.take(places)
    if content.images is not None:
        names = _drawn(list(IMAGES), len(places), random)
        images = [
            IMAGES[name](image, random) for name, image in zip(names, chosen.pictures, strict=True)
        ]
        if isinstance(content.images, np.ndarray):
            whole = np.stack(images) if images else content.images[:0]
            return Content("image", images=whole), names
        return Content("image", images=tuple(images)), names
    if content.texts is not None:
        names = _drawn(list(TEXTS), len(places), random)
        words = _vocabulary(content.texts)
        texts = [
            TEXTS[name](text, words, random)
            for name, text in zip(names, chosen.strings, strict=True)
        ]
        return Content("text", texts=tuple(texts)), names
    names = _drawn(list(ROWS), len(places), random)
    return Content("row", rows=_altered_rows(content.frame, chosen.frame, names, random)), names


def _drawn(names: Sequence[str], count: int, random: Random) -> list[str]:
    repeated = [names[place % len(names)] for place in range(count)]
    return [repeated[place] for place in random.permutation(count)]


def _same(image: Pixels, _random: Random) -> Pixels:
    return image.copy()


def shifted(image: Pixels, random: Random) -> Pixels:
    """Moved by one or two of 28 pixels along each axis, not by none; what comes in is black."""
    height, width = image.shape[:2]
    most = max(1, round(min(height, width) * 2 / 28))
    down, right = 0, 0
    while (down, right) == (0, 0):
        down, right = (int(move) for move in random.integers(-most, most + 1, 2))
    result = np.zeros_like(image)
    rows, columns = (
        (slice(max(move, 0), size + min(move, 0)), slice(max(-move, 0), size + min(-move, 0)))
        for move, size in ((down, height), (right, width))
    )
    result[rows[0], columns[0]] = image[rows[1], columns[1]]
    return result


def cropped(image: Pixels, random: Random) -> Pixels:
    """A part of 82 to 94 % of both sides, anywhere, scaled back to the old size."""
    height, width = image.shape[:2]
    share = random.uniform(0.82, 0.94)
    top, left = random.uniform(0, 1 - share, 2) * (height, width)
    box = (left, top, left + share * width, top + share * height)
    scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(scaled)


def flipped(image: Pixels, _random: Random) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def brightened(image: Pixels, random: Random) -> Pixels:
    """All levels multiplied, by .65 to .85 or 1.15 to 1.4."""
    factor = random.uniform(0.65, 0.85) if random.random() < 0.5 else random.uniform(1.15, 1.4)
    result: Pixels = np.clip(image * factor, 0, 255).round().astype(np.uint8)
    return result


def compressed(image: Pixels, _random: Random) -> Pixels:
    """Through JPEG at quality 60."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def noisy(image: Pixels, random: Random) -> Pixels:
    """With Gaussian noise, of a deviation of 3 to 8 % of the range."""
    noise = random.normal(0, random.uniform(0.03, 0.08) * 255, image.shape)
    result: Pixels = np.clip(image + noise, 0, 255).round().astype(np.uint8)
    return result


IMAGES: dict[str, Callable[[Pixels, Random], Pixels]] = {
    "identical": _same,
    "shift": shifted,
    "crop": cropped,
    "flip": flipped,
    "brightness": brightened,
    "compression": compressed,
    "noise": noisy,
}
"""The alterations of images by name."""


def _unchanged(text: str, _words: Sequence[str], _random: Random) -> str:
    return text


def recased(text: str, _words: Sequence[str], random: Random) -> str:
    """All capitals, no capitals, or the first letter of each word a capital."""
    forms = [form for form in (text.upper(), text.lower(), text.title()) if form != text]
    return forms[random.integers(len(forms))] if forms else text


def repunctuated(text: str, _words: Sequence[str], random: Random) -> str:
    """Half of the punctuation taken out, and a comma after one word in eight."""
    kept = "".join(
        sign if sign.isalnum() or sign.isspace() or random.random() < 0.5 else " " for sign in text
    )
    pieces = kept.split(" ")
    return " ".join(f"{piece}," if piece and random.random() < 1 / 8 else piece for piece in pieces)


def reworded(text: str, words: Sequence[str], random: Random) -> str:
    """One word in ten exchanged for another word of the pool."""
    pieces = text.split(" ")
    places = [place for place, piece in enumerate(pieces) if piece.strip()]
    count = max(1, round(len(places) / 10)) if len(places) > 1 else 0
    for place in random.permutation(places)[:count]:
        pieces[place] = words[int(random.integers(len(words)))]
    return " ".join(pieces)


def truncated(text: str, _words: Sequence[str], random: Random) -> str:
    """The first 40 to 80 % of the characters."""
    return text[: max(1, round(len(text) * random.uniform(0.4, 0.8)))]


TEXTS: dict[str, Callable[[str, Sequence[str], Random], str]] = {
    "identical": _unchanged,
    "case": recased,
    "punctuation": repunctuated,
    "changed words": reworded,
    "truncation": truncated,
}
"""The alterations of texts by name."""

ROWS = ("identical", "changed cell", "rounding")
"""The alterations of rows by name."""


def _vocabulary(texts: Sequence[str], sample: int = 2_000) -> list[str]:
    found = {word for text in texts[:sample] for word in text.split()[:200]}
    return sorted(found) or ["word"]


def _altered_rows(
    pool: pl.DataFrame, rows: pl.DataFrame, names: Sequence[str], random: Random
) -> pl.DataFrame:
    """The rows, altered as named; columns keep their types."""
    cells = {name: rows[name].to_list() for name in rows.columns}
    able = [name for name in pool.columns if pool[name].n_unique() > 1]
    numeric = [name for name in pool.columns if pool[name].dtype.is_numeric()]
    for place, name in enumerate(names):
        if name == "changed cell" and able:
            column = able[random.integers(len(able))]
            old = cells[column][place]
            others = pool[column].drop_nulls().unique(maintain_order=True)
            others = others.filter(others != old) if old is not None else others
            if len(others):
                cells[column][place] = others[int(random.integers(len(others)))]
        elif name == "rounding":
            for column in numeric:
                cells[column][place] = _rounded(cells[column][place])
    return pl.DataFrame(
        {name: pl.Series(name, values, dtype=rows[name].dtype) for name, values in cells.items()},
    )


def _rounded(value: float | int | None, digits: int = 3) -> float | int | None:
    """A number to three significant digits."""
    if value is None or value == 0 or not np.isfinite(value):
        return value
    places = digits - 1 - int(np.floor(np.log10(abs(value))))
    return round(value, places)
