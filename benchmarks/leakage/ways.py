"""Ways to look for leaks: each gives the nearest training example of every evaluation example."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from auditkit_leakage.content import Content, normalized
from auditkit_leakage.search import find
from PIL import Image

from benchmarks.leakage.cases import Case


@dataclass(frozen=True)
class Nearest:
    """For each evaluation example its nearest training example, int64, and how far that is."""

    train: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]


def own(case: Case) -> Nearest:
    """The search of auditkit, without features."""
    found = find(case.train, case.evaluation, neighbours=1)
    return Nearest(found.train, found.distance)


def exact(case: Case) -> Nearest:
    """Equal bytes, equal strings or equal rows, as they are."""
    keys = [_keys(side) for side in (case.train, case.evaluation)]
    places = {key: place for place, key in enumerate(keys[0])}
    train = np.array([places.get(key, -1) for key in keys[1]], dtype=np.int64)
    return Nearest(train, np.where(train < 0, 1.0, 0.0))


def pixels(case: Case) -> Nearest:
    """Euclidean distance of pixels."""
    from sklearn.neighbors import NearestNeighbors

    flat = [_flat(side) for side in (case.train, case.evaluation)]
    distances, places = (
        NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat[0]).kneighbors(flat[1])
    )
    return Nearest(places[:, 0], distances[:, 0])


def perceptual(case: Case) -> Nearest:
    """Hamming distance of perceptual hashes of 64 bits (package imagehash)."""
    import imagehash

    def hashes(content: Content) -> npt.NDArray[np.uint64]:
        bits = np.array([
            imagehash.phash(Image.fromarray(image)).hash.reshape(-1) for image in content.pictures
        ])  # fmt: skip
        return np.packbits(bits, axis=1).view(np.uint64)[:, 0]

    ours, theirs = hashes(case.train), hashes(case.evaluation)
    train, distance = [], []
    for query in theirs:
        apart = np.bitwise_count(ours ^ query)
        train.append(int(apart.argmin()))
        distance.append(float(apart.min()))
    return Nearest(np.array(train), np.array(distance))


def tfidf(case: Case) -> Nearest:
    """Cosine distance of words weighted by rarity (scikit-learn's TfidfVectorizer)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    vectorizer = TfidfVectorizer().fit(case.train.strings)
    table = vectorizer.transform(case.train.strings)
    search = NearestNeighbors(n_neighbors=1, metric="cosine").fit(table)
    distances, places = search.kneighbors(vectorizer.transform(case.evaluation.strings))
    return Nearest(places[:, 0], distances[:, 0])


def standardized(case: Case) -> Nearest:
    """Euclidean distance of standardized numbers and one-hot categories."""
    from sklearn.neighbors import NearestNeighbors

    whole = pl.concat([case.train.frame, case.evaluation.frame])
    parts = []
    for name in whole.columns:
        column = whole[name]
        if column.dtype.is_numeric():
            values = column.cast(pl.Float64).fill_null(column.median()).fill_nan(0).to_numpy()
            parts.append(((values - values.mean()) / (values.std() + 1e-9))[:, None])
        elif column.n_unique() <= 100:
            parts.append(column.fill_null("-").to_dummies().to_numpy().astype(float))
    table = np.concatenate(parts, axis=1)
    ours, theirs = table[: len(case.train)], table[len(case.train) :]
    distances, places = NearestNeighbors(n_neighbors=1).fit(ours).kneighbors(theirs)
    return Nearest(places[:, 0], distances[:, 0])


WAYS: dict[str, dict[str, Callable[[Case], Nearest]]] = {
    "images": {
        "auditkit": own,
        "pixel distance": pixels,
        "perceptual hash": perceptual,
        "equal bytes": exact,
    },
    "mails": {"auditkit": own, "TF-IDF cosine": tfidf, "equal strings": exact},
    "rows": {"auditkit": own, "standardized distance": standardized, "equal rows": exact},
}


def copies(case: Case, evaluation: int, train: int) -> bool:
    """Whether two examples are copies by a plain rule that no way uses.

    Texts: half of the runs of five words of the shorter are in the other. Rows: at most one cell in
    ten differs.
    """
    if case.train.texts is not None:
        runs = [
            _runs(text) for text in (case.train.texts[train], case.evaluation.strings[evaluation])
        ]
        return len(runs[0] & runs[1]) >= 0.5 * max(1, min(map(len, runs)))
    if case.train.rows is not None:
        ours, theirs = case.train.rows.row(train), case.evaluation.frame.row(evaluation)
        differ = sum(one != other for one, other in zip(ours, theirs, strict=True))
        return differ <= 0.1 * len(ours)
    return bool(case.natural[evaluation])


def same_content(case: Case, one: int, other: int) -> bool:
    """Whether two training examples are one, as texts and rows may be."""
    if one == other or case.train.images is not None:
        return one == other
    if case.train.texts is not None:
        return normalized(case.train.texts[one]) == normalized(case.train.texts[other])
    return case.train.frame.row(one) == case.train.frame.row(other)


def _runs(text: str, length: int = 5) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[n : n + length]) for n in range(max(1, len(words) - length + 1))}


def _keys(content: Content) -> list[object]:
    if content.images is not None:
        return [image.tobytes() for image in content.images]
    return list(content.texts) if content.texts is not None else content.frame.rows()


def _flat(content: Content) -> npt.NDArray[np.float32]:
    return np.asarray(content.pictures, dtype=np.float32).reshape(len(content), -1)
