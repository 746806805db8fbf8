"""Mislabelled, or rare but right? What an example is, by what models say that never saw it.

Both are memorized: no other example of the data would have taught the label. Where the held-out
models are sure of another label, the given one is probably wrong; where they are unsure, the
example is probably of a kind that the data holds too little of.

How sure is sure is not left to the models, which are too confident or too shy. A label is taken to
be wrong at one rate for all, and then to be any other class alike. That rate and one temperature of
the held-out predictions are fitted to the given labels, and Bayes' rule gives the rest:

    P(true class k | x, labelled g)  is proportional to  p(k | x) T[k, g]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax, logit

from auditkit import ClassTables

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

Verdict: TypeAlias = Literal["mislabelled", "rare but right", "learnt", "not fitted"]
"""What is said of an example. `not fitted`: even models that train on it predict another label."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

SURE = 0.5
"""How probable a wrong label must be for a memorized example to be called mislabelled."""

_USUAL = (3.0, 97.0)
"""Wrong and right labels that are counted beside the data's own: about the share that test sets of
benchmarks were found to have (Northcutt, Athalye and Mueller 2021)."""

_TEMPERATURES = (0.1, 10.0)
_RATES = (1e-3, 0.5)


@dataclass(frozen=True)
class HeldOut:
    """What models say that did not train on an example.

    Attributes:
        label: int64 [example]; the class they give it.
        wrong_probability: float64 [example]; that the given label is wrong.
        rate: the share of wrong labels that fits best.
        temperature: what the log probabilities were divided by.
    """

    label: Labels
    wrong_probability: Values
    rate: float
    temperature: float


def held_out(tables: Sequence[ClassTables]) -> HeldOut:
    """The opinion of the held-out models, calibrated to the given labels.

    Args:
        tables: of a holdout each.
    """
    labels = tables[0].targets
    logs = np.mean([log_softmax(table.outside.astype(np.float64), axis=1) for table in tables], 0)
    present = max(len(np.unique(labels)), 2)
    temperature, rate = _fitted(logs, labels, present)
    own = _own(logs / temperature, labels)
    wrong = 1 - (1 - rate) * own / _given(own, rate, present)
    return HeldOut(logs.argmax(axis=1).astype(np.int64), wrong, rate, temperature)


def verdicts(
    memorization: Values, with_it: Values, said: HeldOut, labels: Labels, *, threshold: float
) -> npt.NDArray[np.str_]:
    """What each example is, [example].

    Args:
        memorization: the estimates.
        with_it: probability of a right prediction by models that trained on the example.
        said: what the held-out models say.
        labels: the given labels.
        threshold: memorization from which on an example counts as memorized.
    """
    memorized = memorization >= threshold
    wrong = (said.wrong_probability >= SURE) & (said.label != labels)
    choices = [memorized & wrong, memorized, with_it >= 0.5]
    named: npt.NDArray[np.str_] = np.select(choices, list(VERDICTS[:3]), default=VERDICTS[3])
    return named


def _fitted(logs: Values, labels: Labels, present: int) -> tuple[float, float]:
    """The temperature and the rate of wrong labels that make the given labels likeliest.

    The rate has the weight of `_USUAL` examples behind it, so that few examples do not make it 0.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - slow to import

    def unlikely(point: Values) -> float:
        rate = float(expit(point[1]))
        given = _given(_own(logs / float(np.exp(point[0])), labels), rate, present)
        usual = _USUAL[0] * np.log(rate) + _USUAL[1] * np.log1p(-rate)
        return -float(np.log(given).sum() + usual) / len(labels)

    bounds = [tuple(np.log(_TEMPERATURES)), tuple(logit(_RATES))]
    found = minimize(unlikely, x0=np.array([0.0, -3.0]), bounds=bounds, method="L-BFGS-B").x
    return float(np.exp(found[0])), float(expit(found[1]))


def _own(logs: Values, labels: Labels) -> Values:
    """The normalized probability of the given label, [example]."""
    own: Values = np.exp(log_softmax(logs, axis=1)[np.arange(len(labels)), labels])
    return own


def _given(own: Values, rate: float, present: int) -> Values:
    """The probability of the label as given, [example], where labels are wrong at a rate."""
    return np.maximum((1 - rate) * own + rate / (present - 1) * (1 - own), 1e-300)
