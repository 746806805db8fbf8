"""What training examples score for behaviours that nothing taught: chance in this run.

Such decoys are made of the training examples themselves, and of the same kind as what is asked
about: the beginning of one text with a few tokens of another, as many as the completions have; an
input with another one's answer; an example under a class that the model does not predict of it.
They hold the words, and the likeness, but no training example says them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import Pool
from auditkit.errors import NonFiniteScoreError, StepError
from auditkit_tracing.behaviours import Asked
from auditkit_tracing.measuring import Examples, Scorer, measured
from auditkit_tracing.predictions import Seen, with_targets
from auditkit_tracing.settings import Context
from auditkit_tracing.texts import documents_of

if TYPE_CHECKING:
    from auditkit import Answers, Documents

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

SAMPLE = 1_024
"""How many training examples are scored for each decoy."""

_LENGTH = 4
_TRIES = 20


@dataclass(frozen=True)
class Chance:
    """Scores for decoys, in units of their spread.

    Attributes:
        score: float64 [n]; by what proponents come by.
        change: float64 [n]; by what opponents come by.
        behaviours: how many decoys.
        examples: how many training examples each was traced to.
    """

    score: Floats
    change: Floats
    behaviours: int
    examples: int


def chance(
    context: Context, scoring: Scorer, decoys: Pool, whole: Examples, *, of_train: bool = False
) -> Chance:
    """Trace decoys to a sample of the training examples.

    Args:
        context: of the audit.
        scoring: as for what is asked.
        decoys: behaviours that nothing taught.
        whole: the whole training examples.
        of_train: whether decoys are training examples themselves, under their ids: none is counted
            for itself, as no query is.
    """
    train, random = context.subject.train, np.random.default_rng([context.seed % 2**64, 0xC4A9])
    sample = np.sort(random.permutation(len(whole))[:SAMPLE])
    windows = whole.windows(sample)
    pool, inside = train.subset(windows), _inside(whole, windows)
    found: list[tuple[Floats, Floats]] = []
    with context.progress.step("tracing decoys", len(decoys)) as step:
        for place in range(len(decoys)):
            itself = np.array([[of_train and id_ == decoys.ids[place] for id_ in inside.ids]])
            try:
                own = measured(scoring, decoys.subset([place]), inside, pool=pool, itself=itself)
            except (StepError, NonFiniteScoreError):
                continue  # it cannot be unlearned, so that it says nothing of chance
            finally:
                step.advance()
            found.append((own.score[~itself], own.fall[~itself]))
    if not found:
        return Chance(np.zeros(0), np.zeros(0), 0, len(sample))
    scores, changes = (np.concatenate(part) for part in zip(*found, strict=True))
    return Chance(scores, changes, len(found), len(sample))


def _inside(whole: Examples, windows: Positions) -> Examples:
    """The wholes that some windows are of, among themselves."""
    kept, of = np.unique(whole.of[windows], return_inverse=True)
    return Examples(
        tuple(whole.ids[place] for place in kept), of.astype(np.int64), whole.weights[windows]
    )


def other_classes(context: Context, seen: Seen, asked: Asked) -> Pool:
    """Other examples under a class, drawn at random, that is neither predicted nor their label."""
    known = {query.shown[1] for query in asked.queries if query.shown is not None}
    rest = [place for place, name in enumerate(seen.pool.ids) if name not in known]
    random = _drawn(context)
    chosen = np.sort(random.permutation(rest or len(seen.pool))[: context.settings.decoys])
    classes = seen.probabilities.shape[1]
    targets = np.zeros(len(chosen), dtype=np.int64)
    for row, place in enumerate(chosen):
        taken = {int(seen.predicted[place])}
        if seen.labels is not None and classes > 2:
            taken.add(int(seen.labels[place]))
        targets[row] = random.choice([one for one in range(classes) if one not in taken])
    return with_targets(context, seen, chosen, targets)


def other_texts(context: Context, asked: Asked) -> Pool | None:
    """Beginnings of training texts with a few tokens of others; inputs with others' answers.

    None where there are too few different texts, or their tokens are not known.
    """
    from auditkit import Answers, Documents  # noqa: PLC0415 - brings torch

    random, count = _drawn(context), context.settings.decoys
    documents = documents_of(context.subject.train)
    if documents is None:
        return None
    if isinstance(documents, Answers):
        swapped = list(_swapped(documents, count, random))
        if not swapped:
            return None
        inputs, answers = zip(*swapped, strict=True)
        return Pool(Answers(inputs, answers, pad=documents.pad))
    queries, length = asked.pool.dataset, _LENGTH
    if isinstance(queries, Documents):
        length = int(np.median([len(queries.counted(place)) for place in range(len(queries))]))
    spliced = list(_spliced(documents, count, length, random))
    if not spliced:
        return None
    tokens, prompts = zip(*spliced, strict=True)
    return Pool(Documents(tokens, prompts=prompts, pad=documents.pad))


def _swapped(
    documents: Answers, count: int, random: np.random.Generator
) -> Iterator[tuple[list[int], list[int]]]:
    """Inputs, each with the answer of another that has a different one."""
    for place in random.permutation(len(documents))[:count].tolist():
        for other in random.permutation(len(documents))[:_TRIES].tolist():
            if not np.array_equal(documents.answers[place], documents.answers[other]):
                yield documents.inputs[place].tolist(), documents.answers[other].tolist()
                break


def _spliced(
    documents: Documents, count: int, length: int, random: np.random.Generator
) -> Iterator[tuple[list[int], int]]:
    """Beginnings of texts with tokens of others, and where these begin."""
    for place in random.permutation(len(documents))[:count].tolist():
        own, first = documents.tokens[place], documents.counted(place).start
        start = int(random.integers(first, max(len(own) - length, first) + 1))
        true = own[start : start + length].tolist()  # no longer than the text, which is read whole
        for other in random.permutation(len(documents))[:_TRIES].tolist():
            tokens = documents.tokens[other]
            begin = int(random.integers(0, max(len(tokens) - length, 0) + 1))
            taken = tokens[begin : begin + len(true)].tolist()
            if taken[: len(true)] != true[: len(taken)]:
                yield [*own[:start].tolist(), *taken], start
                break


def _drawn(context: Context) -> np.random.Generator:
    return np.random.default_rng([context.seed % 2**64, 0xB3F])
