"""auditkit's own methods, behind the same face as the peers'."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from auditkit import ClassificationTask, ForwardINF
from auditkit.errors import SettingError
from benchmarks.attribution.case import Case, Floats, Method, NotOfferedError

Settings: TypeAlias = Mapping[str, str | float | int | None]


def engine(case: Case, settings: Settings) -> ForwardINF:
    """The engine on the case's networks.

    Raises:
        NotOfferedError: a setting that this version of auditkit does not have.
    """
    known = inspect.signature(ForwardINF).parameters
    if unknown := sorted(set(settings) - set(known)):
        raise NotOfferedError(f"this version of auditkit has no {', '.join(unknown)}")
    first, *others = case.models
    try:
        return ForwardINF(
            ClassificationTask(first),
            train=case.data.train,
            checkpoints=[model.state_dict() for model in others],
            recipe=case.recipe,
            **settings,  # type: ignore[arg-type]
        )
    except (SettingError, KeyError, NotImplementedError) as error:
        raise NotOfferedError(str(error)) from error


def influence(case: Case, settings: Settings) -> Floats:
    """Scores of all queries against all training examples."""
    return engine(case, settings).influence(case.data.queries).values


def published(case: Case, *, absolute: bool) -> Floats:
    """The authors' setting, by the change of the loss or, as they rank, by its absolute value."""
    if len(case.models) > 1:
        raise NotOfferedError("the published setting has one network")
    own = ForwardINF.published(ClassificationTask(case.models[0]), train=case.data.train)
    scores = own.influence(case.data.queries, case.data.train).values
    return np.abs(scores) if absolute else scores


def _variant(**settings: str | float) -> Callable[[Case], Floats]:
    return lambda case: influence(case, settings)


METHODS = (
    Method(
        "auditkit",
        "Forward-INF as it comes: nothing chosen by the user",
        {"default settings": _variant()},
    ),
    Method(
        "auditkit, first-order",
        "the derivative along the default update in place of the finite change",
        {"default settings": _variant(response="first-order")},
    ),
    Method(
        "auditkit, no replays",
        "scores of the trained networks alone",
        {"otherwise as it comes": _variant(replays=0)},
    ),
    Method(
        "auditkit, first-order, no replays",
        "the derivative, of the trained networks alone",
        {"otherwise as it comes": _variant(response="first-order", replays=0)},
    ),
    Method(
        "auditkit, held-out pulls",
        "first-order, training examples weighed by how they pull held out as well; no replays",
        {"otherwise as it comes": _variant(response="first-order", pull="held-out", replays=0)},
    ),
    Method(
        "auditkit, relative",
        "derivatives of margins, divided by the root of each example's own influence; no replays",
        {
            "otherwise as it comes": _variant(
                train_measure="margin", relative=True, response="first-order", replays=0
            ),
            "kfac": _variant(
                train_measure="margin",
                relative=True,
                response="first-order",
                preconditioner="kfac",
                replays=0,
            ),
        },
    ),
    *(
        Method(
            f"auditkit, {kind}",
            f"Forward-INF, finite, with the preconditioner `{kind}`; no replays",
            {
                "default settings": _variant(preconditioner=kind, replays=0),
                "losses": _variant(
                    preconditioner=kind, measure="loss", train_measure="loss", replays=0
                ),
                "margins": _variant(preconditioner=kind, train_measure="margin", replays=0),
            },
        )
        for kind in ("none", "adam", "diagonal", "kfac", "ekfac", "ggn")
    ),
    Method(
        "auditkit, published",
        "one step of Adam at 5e-3 on the loss, as the authors' code has it",
        {
            "absolute change": lambda case: published(case, absolute=True),
            "change": lambda case: published(case, absolute=False),
        },
    ),
)
