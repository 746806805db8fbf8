"""Does leaving the memorized examples out hurt? Trainings without them, and without random ones.

Feldman and Zhang (2020, section 4.1) take the most memorized examples out, train again, and compare
with taking as many random ones out. Where memorized examples are rare but right, accuracy falls by
more than without random ones; where they are mislabelled, it rises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import Pool
from auditkit.errors import SettingError
from auditkit_memorization.correctness import Without, measured_without, retrained_without
from auditkit_memorization.settings import Context

Positions = npt.NDArray[np.int64]

MEMORIZED, RANDOM = "the most memorized", "as many at random"
LOSS = "loss per token"
_RESAMPLES = 2_000
_HELD_OUT = 0.2
_CERTAINTY = 0.95


@dataclass(frozen=True)
class Confirmation:
    """What the trainings showed.

    Attributes:
        levels: a row per training set: its name, mean accuracy or loss, and 95 % interval.
        differences: a row per comparison: its name, the difference, and 95 % interval.
        left_out: how many examples were left out.
        judged_on: what it was measured on, in words.
    """

    levels: pl.DataFrame
    differences: pl.DataFrame
    left_out: int
    judged_on: str


def confirm(
    context: Context,
    memorization: npt.NDArray[np.float64],
    *,
    share: float,
    seeds: int,
) -> Confirmation:
    """Train with everything, without the most memorized share, and without as much at random.

    Accuracy is measured on the subject's queries, or where it has none on a random fifth of the
    train pool that no training sees. Intervals are of a bootstrap over seeds and examples.

    Args:
        context: of the audit.
        memorization: the estimates, [example].
        share: of the training examples that is left out.
        seeds: trainings of each kind.

    Raises:
        SettingError: the share leaves no example out.
    """
    split = _split(context, memorization, share=share, seeds=seeds)
    done = retrained_without(
        context, split.train, split.judged, split.groups, context.work() / "confirm"
    )
    return _confirmation(done, split, name="accuracy")


def confirm_texts(
    context: Context,
    memorization: npt.NDArray[np.float64],
    *,
    share: float,
    seeds: int,
) -> Confirmation:
    """The same for documents: the loss per token of documents that are not trained on, in nats.

    Trainings are by the subject's recipe, for as many epochs as replays take if those are more.

    Args:
        context: of the audit.
        memorization: the estimates, [document].
        share: of the training documents that is left out.
        seeds: trainings of each kind.

    Raises:
        SettingError: the share leaves no document out.
    """
    from auditkit import truth  # noqa: PLC0415 - brings torch

    split = _split(context, memorization, share=share, seeds=seeds)
    recipe = context.subject.recipe
    enough = context.settings.replay_epochs(len(split.train), recipe.batch_size)
    retraining = replace(
        truth.Retraining.of(context.subject),
        recipe=replace(recipe, epochs=max(recipe.epochs, enough)),
        train=split.train,
        queries=split.judged,
        measure="loss",
        seed=context.seed,
        device=context.device,
    )
    done = measured_without(context, retraining, split.groups, context.work() / "confirm")
    return _confirmation(done, split, name=LOSS)


@dataclass(frozen=True)
class _Split:
    """What is trained on, what is judged, and what is left out: positions by group, per seed."""

    train: Pool
    judged: Pool
    judged_on: str
    groups: list[dict[str, Positions]]
    random: np.random.Generator


def _split(
    context: Context, memorization: npt.NDArray[np.float64], *, share: float, seeds: int
) -> _Split:
    subject, random = context.subject, np.random.default_rng([context.seed % 2**64, 0xC0F1])
    train, queries, known = subject.train, subject.queries, memorization
    judged_on = f"the {0 if queries is None else len(queries):,} evaluation examples"
    if queries is None:
        mixed = random.permutation(len(train))
        cut = max(1, round(_HELD_OUT * len(train)))
        judged, kept = np.sort(mixed[:cut]), np.sort(mixed[cut:])
        queries, train, known = train.subset(judged), train.subset(kept), memorization[kept]
        judged_on = (
            f"{cut:,} training examples that none of these models saw, by their given labels"
            if train.label is not None or context.task.likelihood == "categorical"
            else f"{cut:,} training examples that none of these models saw"
        )
    count = left_out(share, len(train))
    worst = np.argsort(-known, kind="stable")[:count]
    groups = [
        {MEMORIZED: worst, RANDOM: random.permutation(len(train))[:count]} for _ in range(seeds)
    ]
    return _Split(train, queries, judged_on, groups, random)


def left_out(share: float, examples: int) -> int:
    """How many of so many examples are left out.

    Raises:
        SettingError: none.
    """
    count = round(share * examples)
    if not 0 < count < examples:
        raise SettingError(
            f"leave_out is {share:g}: of {examples:,} training examples that leaves {count} out; "
            "expected one or more, and not all."
        )
    return count


def _confirmation(done: Without, split: _Split, *, name: str) -> Confirmation:
    values = np.stack([done.everything, done.left_out[MEMORIZED], done.left_out[RANDOM]])
    resampled = _resampled(values, split.random)
    names = ("everything", f"without {MEMORIZED}", f"without {RANDOM}")
    means = values.mean(axis=(1, 2))
    pairs = {
        "without the most memorized, against everything": (1, 0),
        "without random ones, against everything": (2, 0),
        "without the most memorized, against without random ones": (1, 2),
    }
    return Confirmation(
        levels=_frame(
            "trained on", name, [(n, means[k], resampled[k]) for k, n in enumerate(names)]
        ),
        differences=_frame(
            "comparison",
            "difference",
            [(n, means[a] - means[b], resampled[a] - resampled[b]) for n, (a, b) in pairs.items()],
        ),
        left_out=len(split.groups[0][MEMORIZED]),
        judged_on=split.judged_on,
    )


def _resampled(
    values: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Means of samples of seeds and examples, [kind, sample]; the same for every kind."""
    _, seeds, examples = values.shape
    found = np.empty((len(values), _RESAMPLES))
    for place in range(_RESAMPLES):
        weight = np.bincount(random.integers(0, examples, examples), minlength=examples) / examples
        drawn = random.integers(0, seeds, seeds)
        found[:, place] = (values @ weight)[:, drawn].mean(axis=1)
    return found


def _frame(
    first: str, second: str, rows: list[tuple[str, float, npt.NDArray[np.float64]]]
) -> pl.DataFrame:
    outside = (1 - _CERTAINTY) / 2
    return pl.DataFrame(
        [
            (name, float(value), *map(float, np.quantile(samples, [outside, 1 - outside])))
            for name, value, samples in rows
        ],
        schema={
            first: pl.String(),
            second: pl.Float64(),
            "low": pl.Float64(),
            "high": pl.Float64(),
        },
        orient="row",
    )
