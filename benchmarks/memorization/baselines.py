"""What is cheaper than the audit, or plainer: scores per example, higher for more memorized."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from auditkit import ClassificationTask, truth
from auditkit.training import epochs
from benchmarks.fashion import CLASSES
from benchmarks.memorization.truth import RECIPE, Problem, Values, network

FOLDS = 5
_CHECKPOINTS = 10
_CHUNK = 250


@dataclass(frozen=True)
class Trained:
    """The audited model, its checkpoints, and the losses of its training, [epoch, example]."""

    task: ClassificationTask
    checkpoints: list[dict[str, Tensor]]
    losses: Values


def train(given: Problem) -> Trained:
    """The model that is audited: trained on everything, with what baselines need kept."""
    task = ClassificationTask(network(given.seed + 7), class_names=CLASSES)
    losses, checkpoints, every = [], [], RECIPE.epochs // _CHECKPOINTS
    passes = epochs(task.model, task, given.pool, RECIPE, count=RECIPE.epochs, seed=given.seed + 7)
    for epoch in passes:
        losses.append(epoch.losses.numpy().astype(np.float64))
        if epoch.number % every == 0:
            checkpoints.append(deepcopy(task.model.state_dict()))
    task.model.eval()
    return Trained(task, checkpoints, np.array(losses))


def training_loss(given: Problem, trained: Trained) -> Values:
    """Cross-entropy under the trained model, [example]."""
    with torch.no_grad():
        scores = trained.task.model(torch.from_numpy(given.data.images))
    loss: Values = functional.cross_entropy(
        scores.double(), torch.from_numpy(given.data.given), reduction="none"
    ).numpy()
    return loss


def gradient_norm(given: Problem, trained: Trained) -> Values:
    """The norm of the loss's gradient under the trained model, [example]."""
    return np.sqrt(squared_gradients(given, trained.task.model, trained.task.model.state_dict()))


def self_influence(given: Problem, trained: Trained) -> Values:
    """TracInCP of each example on itself (Pruthi et al. 2020), [example].

    The sum over checkpoints of the rate times the squared norm of the loss's gradient.
    """
    parts = [squared_gradients(given, trained.task.model, each) for each in trained.checkpoints]
    return (RECIPE.learning_rate or 0.0) * np.sum(parts, axis=0)


def squared_gradients(given: Problem, model: nn.Module, weights: dict[str, Tensor]) -> Values:
    """The squared norm of each example's gradient at some weights, [example]."""

    def loss(at: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        scores = functional_call(model, at, (image[None],))
        return functional.cross_entropy(scores, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    images = torch.from_numpy(given.data.images).split(_CHUNK)
    labels = torch.from_numpy(given.data.given).split(_CHUNK)
    parts = []
    for image, label in zip(images, labels, strict=True):
        slopes = each(weights, image, label)
        parts.append(sum(slope.flatten(1).double().square().sum(1) for slope in slopes.values()))
    found: Values = torch.cat(parts).numpy()
    return found


def cross_validated(given: Problem) -> tuple[Values, Values]:
    """One minus the label's probability by five retrainings, and whether they err, [example]."""
    data, doubt, errs = given.data, np.zeros(len(given.data.given)), np.zeros(len(given.data.given))
    for place, (rest, held) in enumerate(_folds(given)):
        task = ClassificationTask(network(1_000 + given.seed * FOLDS + place))
        for _ in epochs(
            task.model, task, given.pool, RECIPE, count=RECIPE.epochs, positions=rest, seed=place
        ):
            pass
        task.model.eval()
        with torch.no_grad():
            said = task.model(torch.from_numpy(data.images[held])).double().softmax(1).numpy()
        doubt[held] = 1 - said[np.arange(len(held)), data.given[held]]
        errs[held] = said.argmax(1) != data.given[held]
    return doubt, errs


def few_halves(given: Problem, *, models: int, folder: Path) -> tuple[Values, Values]:
    """Feldman and Zhang's estimate of a few models, by counts and by probabilities, [example].

    Of other halves than those of the ground truth. Where no model is on one side of an example,
    the mean over all examples stands for it.
    """
    retraining = replace(given.retraining, seed=given.seed + 5_000)
    halves = truth.half_subsets(retraining, count=models, seeds=1, folder=folder)
    right, likely = halves.measures < 0, expit(-halves.measures.astype(np.float64))
    sides = (halves.members, ~halves.members)
    counted = [_means(right.astype(np.float64), side) for side in sides]
    soft = [_means(likely, side) for side in sides]
    return counted[0] - counted[1], soft[0] - soft[1]


def _means(values: Values, where: np.ndarray) -> Values:
    count = where.sum(axis=0)
    total = (values * where).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), total.sum() / count.sum())


def _folds(given: Problem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=given.seed)
    yield from splitter.split(given.data.given, given.data.given)
