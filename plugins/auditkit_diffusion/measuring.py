"""Scores under one set of noises and another, and how many draws they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from auditkit import Engine, Pool, SelfCheck
from auditkit.errors import UsageError
from auditkit_diffusion.settings import Context

if TYPE_CHECKING:
    from auditkit import DiffusionTask

Table = npt.NDArray[np.float64]

FIRST = 10
"""How many of the strongest are compared between noises and with neighbours."""

_PILOT = 256
_PILOT_QUERIES = 2
_PILOT_DRAWS = 16
_CHOICES = (4, 8, 16, 32, 64)
RELIABLE = 0.9
"""The share of the variance of scores that is to be the images' and not the noise's."""

_ASKED, _CANDIDATES = 8, 512
_OTHERS = 1_000
GROUP = "all generated images"


def denoising(context: Context) -> DiffusionTask:
    """The subject's task.

    Raises:
        UsageError: it is none of a diffusion model.
    """
    from auditkit import DiffusionTask  # noqa: PLC0415 - brings torch

    task = context.task
    if not isinstance(task, DiffusionTask):
        raise UsageError(
            f"The diffusion audit needs a subject with an auditkit.DiffusionTask and got a "
            f"{type(task).__name__}: name the model with --model DIR, or write such a task."
        )
    return task


def engine_of(context: Context, draws: int, *, noise: int = 0) -> Engine:
    """The engine with the audit's settings, so many draws, and some noises of several."""
    task, settings = denoising(context), context.settings
    timesteps, noises = _parts(task, draws)
    other = task.with_draws(timesteps=timesteps, noises=noises, seed=task.seed + noise)
    both = settings.measure == "squared-norm"
    return context.engine.configured(
        measure="squared-norm" if both else "loss",
        train_measure=settings.measure,
        rise=settings.rise,
        relative=settings.relative,
        task=other,
    )


def _parts(task: DiffusionTask, draws: int) -> tuple[int, int]:
    """Timesteps and noises at each that make at least so many draws, and the fewest that do."""
    noises = -(-draws // len(task.schedule))
    return -(-draws // noises), noises


def _made(context: Context, draws: int) -> int:
    """How many draws they are."""
    timesteps, noises = _parts(denoising(context), draws)
    return timesteps * noises


@dataclass(frozen=True)
class Draws:
    """How many draws are taken, and what that is founded on.

    Attributes:
        count: pairs of a timestep and a noise per image.
        reliability: the share of the variance of scores that is the images' own, at so many; None
            where the number was given.
    """

    count: int
    reliability: float | None


def choose_draws(context: Context) -> Draws:
    """As many draws as make nine tenths of the variance of scores the images' own.

    Some training images are scored for some of the generated ones under two sets of noises; half
    the variance of the difference is the noise's. More draws divide it (Spearman 1910, Brown 1910).
    """
    if context.settings.draws:
        return Draws(_made(context, context.settings.draws), None)
    random = np.random.default_rng([context.seed, 1])
    train, queries = context.subject.train, asked(context)
    sample = train.subset(np.sort(random.permutation(len(train))[:_PILOT]))
    some = queries.subset(np.arange(min(_PILOT_QUERIES, len(queries))))
    one, other = (
        engine_of(context, _PILOT_DRAWS, noise=noise).influence(some, sample).values.astype(float)
        for noise in (0, 1)
    )
    noise = ((standings(one) - standings(other)).var(axis=1) / 2).clip(0, 1)
    single = _scaled(float(1 - noise.mean()), 1 / _made(context, _PILOT_DRAWS))
    choices = [_made(context, count) for count in _CHOICES]
    for count in choices:
        if _scaled(single, count) >= RELIABLE:
            return Draws(count, _scaled(single, count))
    context.note(
        f"Even with {choices[-1]} draws of noise per image, only "
        f"{_scaled(single, choices[-1]):.0%} of the variance of the scores is the images' own: "
        "read the rankings with care, or give more --draws.",
        level="warning",
    )
    return Draws(choices[-1], _scaled(single, choices[-1]))


def _scaled(reliability: float, times: float) -> float:
    """The reliability of a mean over so many times as many draws."""
    reliability = min(max(reliability, 1e-6), 1.0)
    return times * reliability / (1 + (times - 1) * reliability)


def standings(values: Table) -> Table:
    """Scores in standard deviations of each row from its mean."""
    spread = values.std(axis=1, keepdims=True)
    found: Table = (values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return found


@dataclass(frozen=True)
class Reference:
    """Training images as queries.

    Attributes:
        check: how often they find themselves.
        own: [query]; how each stands for itself.
        others: [query]; how the strongest other image stands.
    """

    check: SelfCheck
    own: Table
    others: Table

    @property
    def threshold(self) -> float | None:
        """From where on an image stands as one does for itself; None if that cannot be told."""
        # One image that is very far leaves all others below the mean.
        low, high = max(float(self.others.max()), 1.0), float(np.median(self.own))
        return (low * high) ** 0.5 if low < high and self.check.passed else None


def reference(context: Context, engine: Engine) -> Reference:
    """How training images stand for themselves, and others for them."""
    train = context.subject.train
    chosen = np.random.default_rng([context.seed, 2]).permutation(len(train))[:_CANDIDATES]
    asking = train.subset(chosen[:_ASKED])
    values = engine.influence(asking, train.subset(chosen)).values.astype(np.float64)
    found, count = standings(values), len(asking)
    places = np.arange(count)
    own = found[places, places]
    # Ties, with itself left out, count half: else scores that are all alike would pass.
    ties = (found == own[:, None]).sum(axis=1) - 1
    better = (found > own[:, None]).sum(axis=1) + ties / 2
    check = SelfCheck(
        queries=count,
        candidates=len(chosen),
        top1=float((better < 1).mean()),
        top5=float((better < 5).mean()),
    )
    return Reference(check, *among_all(found, len(train)))


def among_all(found: Table, count: int) -> tuple[Table, Table]:
    """How each query stands for itself, and the strongest other image, among `count` images.

    One image far from the others widens the spread it is measured by, the more the fewer they are:
    among 512 none can stand higher than 22.6. So standings in a sample are not those in the whole.

    Args:
        found: [query, candidate]; standings in a sample, the queries first.
        count: how many training images there are in all; the others are taken to be like these.
    """
    own, others = np.zeros(len(found)), np.zeros(len(found))
    if found.shape[1] == 1:
        return own, others
    for place, row in enumerate(found):
        rest = np.delete(row, place)
        far, high = (np.array([row[place], rest.max()]) - rest.mean()) / (rest.std() or 1.0)
        spread = ((count - 1) / count * (1 + far**2 / count)) ** 0.5
        own[place], others[place] = (np.array([far, high]) - far / count) / spread
    return own, others


@dataclass(frozen=True)
class Stability:
    """The same scores under other noises, for some of the training images.

    Attributes:
        places: int64 [candidate]; where these stand in the train pool.
        values: [noise, query, candidate]; their standings.
        stands: [candidate]; for how many training images each stands: those that were drawn at
            random also for those that were not.
    """

    places: npt.NDArray[np.int64]
    values: Table
    stands: Table

    def again(self, row: int, place: int, *, side: int, among: int) -> float | None:
        """Under which share of the other noises an image is among the first of a side."""
        if not len(self.values):
            return None
        [candidate] = np.flatnonzero(self.places == place)
        own = side * self.values[:, row]
        return float(((own > own[:, [candidate]]) @ self.stands < among).mean())

    def overlap(self, row: int, standing: Table) -> float | None:
        """The share of the ten strongest that are so under other noises too, averaged."""
        if not len(self.values):
            return None
        count = min(FIRST, len(standing))
        first = np.argsort(-standing, kind="stable")[:count]
        found = [self.again(row, int(place), side=1, among=count) for place in first]
        known = [share for share in found if share is not None]
        return float(np.mean(known)) if known else None


def stability(context: Context, draws: int, kept: set[int]) -> Stability:
    """Score the kept images, and up to 1,000 others drawn at random, under other noises."""
    train = context.subject.train
    drawn = np.random.default_rng([context.seed, 3]).permutation(len(train))[:_OTHERS]
    places = np.array(sorted(kept | set(drawn.tolist())), dtype=np.int64)
    pool = train if len(places) == len(train) else train.subset(places)
    found = [
        standings(
            engine_of(context, draws, noise=noise)
            .influence(asked(context), pool)
            .values.astype(np.float64)
        )
        for noise in range(1, context.settings.noises + 1)
    ]
    kept_too = np.isin(places, list(kept))
    drawn_alone = max(int((~kept_too).sum()), 1)
    stands = np.where(kept_too, 1.0, (len(train) - len(kept)) / drawn_alone)
    return Stability(places, np.array(found), stands)


def asked(context: Context) -> Pool:
    """The generated images."""
    return cast(Pool, context.subject.queries)
