"""Stage 2 for texts: which training text shares more with a query than common phrases?

A text is the set of its words and pairs of adjacent words, in lower case and without punctuation.
Candidates come from MinHash signatures (Broder 1997; datasketch) and from the nearest texts by
cosine of rare words. A pair is then judged exactly: the weight of what both share over the weight
of the smaller one, where rare words and phrases weigh more, so that a truncated copy counts as a
copy and a shared footer does not.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import Progress, Silent
from auditkit_leakage.found import Found, chosen, once
from auditkit_leakage.neighbours import MOST, Indices, nearest, nearest_sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SILENT: Progress = Silent()

Numbers = npt.NDArray[np.float64]

_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0002ffff]|[^\\W_]+"
)
"""A word; or one sign of a script that writes without spaces."""

_LONGEST = 24
_BITS = 22
_PERMUTATIONS = 128
_ROWS = 2
_FROM_MINHASH = 20
_FROM_COSINE = 20
_REDUCED = 128
_NEAR = 0.5
_LEAST_USUAL = 0.25
_TRUNCATED = 0.85
_CONTAINED = 0.9
_PARTLY = 0.02
"""How much being a part of another text counts, where being another text counts 1."""


def find_texts(
    train: Sequence[str],
    queries: Sequence[str],
    *,
    same_pool: bool = False,
    neighbours: int = 3,
    progress: Progress = SILENT,
) -> Found:
    """The training texts that share most with each query.

    Args:
        train: the training texts.
        queries: the evaluation texts.
        same_pool: the two are the same; a text is not paired with itself.
        neighbours: how many pairs to give for each query.
        progress: is told of texts read.
    """
    with progress.step("reading texts", len(train) + len(queries)) as step:
        words = []
        for text in (*train, *queries):
            words.append(words_of(text))
            step.advance()
    counts = _phrases(words)
    known, asked = counts[: len(train)], counts[len(train) :]
    rarity = _rarity(known)
    offered = [_by_minhash(known, asked), _by_cosine(known, asked, rarity)]
    table = once(np.concatenate(offered, axis=1))
    if same_pool:
        table[table == np.arange(len(queries))[:, None]] = -1
    shared, jaccard = _shared(known, asked, rarity, table)
    order = np.lexsort((-jaccard, -shared), axis=1)
    table = np.take_along_axis(table, order, axis=1)
    shared = np.take_along_axis(shared, order, axis=1)
    jaccard = np.take_along_axis(jaccard, order, axis=1)
    usual = _usual(shared)
    rows, columns = np.nonzero(chosen(table, neighbours))
    pairs = rows.astype(np.int64), table[rows, columns]
    likeness = shared[rows, columns]
    apart = (1 - likeness) + _PARTLY * (1 - jaccard[rows, columns])
    distance = apart / usual[rows]
    kinds = [
        _kind(words[known_], words[len(train) + query], share, far)
        for query, known_, share, far in zip(
            *(values.tolist() for values in pairs), likeness, distance >= _NEAR, strict=True
        )
    ]
    found = Found(*pairs, kinds, likeness, distance)
    return found.nearest(neighbours)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case (NFKC), without punctuation; very long ones in pieces."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [
        word[start : start + _LONGEST] for word in found for start in range(0, len(word), _LONGEST)
    ]


def _phrases(texts: Sequence[Sequence[str]]) -> csr_matrix:
    """Which words and pairs of adjacent words each text holds: zero or one, [text, hash]."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - slow to import

    starts, entries = [0], []
    for words in texts:
        pairs = (f"{one} {other}" for one, other in pairwise(words))
        hashes = {
            zlib.crc32(phrase.encode("utf-8", "surrogatepass")) >> (32 - _BITS)
            for phrase in (*words, *pairs)
        }
        entries.append(np.sort(np.fromiter(hashes, dtype=np.int32, count=len(hashes))))
        starts.append(starts[-1] + len(hashes))
    places = np.concatenate(entries) if entries else np.zeros(0, dtype=np.int32)
    ones = np.ones(len(places), dtype=np.float32)
    return csr_matrix((ones, places, np.array(starts)), shape=(len(texts), 2**_BITS))


def _rarity(known: csr_matrix) -> npt.NDArray[np.float32]:
    """How much each word or phrase tells: minus the log of the share of texts that hold it."""
    held = np.bincount(known.indices, minlength=known.shape[1])
    rare: npt.NDArray[np.float32] = np.log((known.shape[0] + 1) / (held + 0.5)).astype(np.float32)
    return np.maximum(rare, 0.01)


def _by_minhash(known: csr_matrix, asked: csr_matrix) -> Indices:
    """Training texts whose signature meets the query's in a band, the most alike of them."""
    from datasketch import MinHash, MinHashLSH  # noqa: PLC0415 - slow to import

    def signature(row: npt.NDArray[np.int32]) -> MinHash:
        made = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)
        if len(row):
            made.update_batch(row.tolist())
        return made

    def rows(table: csr_matrix) -> list[npt.NDArray[np.int32]]:
        return [table.indices[a:b] for a, b in pairwise(table.indptr)]

    index = MinHashLSH(num_perm=_PERMUTATIONS, params=(_PERMUTATIONS // _ROWS, _ROWS))
    signatures = []
    for place, row in enumerate(rows(known)):
        made = signature(row)
        signatures.append(made.hashvalues)
        if len(row):
            index.insert(place, made)
    values = np.array(signatures)
    result = np.full((asked.shape[0], _FROM_MINHASH), -1, dtype=np.int64)
    for place, row in enumerate(rows(asked)):
        if not len(row):
            continue
        made = signature(row)
        met = np.array(index.query(made), dtype=np.int64)
        alike = (values[met] == made.hashvalues).mean(axis=1) if len(met) else np.zeros(0)
        best = met[np.argsort(-alike, kind="stable")[:_FROM_MINHASH]]
        result[place, : len(best)] = best
    return result


def _by_cosine(known: csr_matrix, asked: csr_matrix, rarity: npt.NDArray[np.float32]) -> Indices:
    """The nearest training texts by cosine of rarity; in fewer dimensions where texts are many."""
    from sklearn.preprocessing import normalize  # noqa: PLC0415 - slow to import

    ours, theirs = (normalize(table.multiply(rarity).tocsr()) for table in (known, asked))
    if known.shape[0] <= MOST:
        return nearest_sparse(theirs, ours, _FROM_COSINE)[0]
    from sklearn.random_projection import SparseRandomProjection  # noqa: PLC0415 - as above

    fewer = SparseRandomProjection(_REDUCED, random_state=0, dense_output=True).fit(ours)
    return nearest(fewer.transform(theirs), fewer.transform(ours), _FROM_COSINE)[0]


def _shared(
    known: csr_matrix, asked: csr_matrix, rarity: npt.NDArray[np.float32], table: Indices
) -> tuple[Numbers, Numbers]:
    """For each pair, the weight of what both hold, over the smaller text's, and over that of both.

    Returns:
        float64 [query, candidate] twice; -1 where there is no candidate.
    """
    weights = [np.asarray(part @ rarity, dtype=np.float64) for part in (known, asked)]
    rows, columns = np.nonzero(table >= 0)
    share = np.full(table.shape, -1.0)
    jaccard = np.full(table.shape, -1.0)
    block = 20_000
    for start in range(0, len(rows), block):
        row, column = rows[start : start + block], columns[start : start + block]
        place = table[row, column]
        both = np.asarray(asked[row].multiply(known[place]) @ rarity, dtype=np.float64)
        ours, theirs = weights[0][place], weights[1][row]
        share[row, column] = both / np.maximum(np.minimum(ours, theirs), 1e-9)
        jaccard[row, column] = both / np.maximum(ours + theirs - both, 1e-9)
    return np.clip(share, -1, 1), np.clip(jaccard, -1, 1)


def _usual(shared: Numbers) -> Numbers:
    """What usual neighbours do not share, [query], from all candidates in order."""
    counts = (shared >= 0).sum(axis=1)
    middle = np.minimum(counts // 2, shared.shape[1] - 1)
    value = np.where(counts > 0, shared[np.arange(len(shared)), middle], 0.0)
    result: Numbers = np.maximum(1 - value, _LEAST_USUAL)
    return result


def _kind(known: Sequence[str], asked: Sequence[str], share: float, far: bool) -> str:
    """How a pair differs, in words."""
    if known == asked:
        return "case/punctuation"
    if far:
        return "near text"
    lengths = sorted((len(known), len(asked)))
    if share >= _CONTAINED and lengths[0] < _TRUNCATED * lengths[1]:
        return "truncation"
    return "changed words"
