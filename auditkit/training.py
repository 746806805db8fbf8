"""The one training loop: a recipe in, a trained model out.

Whatever trains here trains through `epochs`: models for data that come without one (`fit`), the
replays of `auditkit.engine.holdout`, and retraining as ground truth.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import batches, collate, cuts_of, every, remaining
from auditkit.checks import per_example
from auditkit.errors import NonFiniteLossError, PoolError, SettingError, TaskError
from auditkit.gradients import differentiable, gradient
from auditkit.pool import Pool, Positions
from auditkit.progress import SILENT, Progress
from auditkit.seeds import seeded, stream
from auditkit.subject import Recipe, Task

LEARNING_RATES = (3e-4, 1e-3, 3e-3)
"""What is tried where a recipe names no rate; the middle one where nothing can be tried."""

_TRIAL_STEPS = 40
_TRIAL_EXAMPLES = 2_000


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training examples left behind.

    Attributes:
        number: 1 for the first.
        losses: float32 [example]; each example's loss as its batch was trained on, before the step;
            NaN where it was left out.
        log_probabilities: float32 [example, class], from the same passes; None if not asked for.
    """

    number: int
    losses: Tensor
    log_probabilities: Tensor | None = None


@dataclass(frozen=True)
class FitLog:
    """How a model was fitted: the epochs kept, the rate used and the held-out results."""

    epochs: int
    learning_rate: float
    held_out_loss: float
    held_out_accuracy: float | None


def epochs(
    model: nn.Module,
    task: Task,
    pool: Pool,
    recipe: Recipe,
    *,
    count: int,
    positions: Positions | None = None,
    left_out: Positions | None = None,
    targets: Tensor | None = None,
    keep_probabilities: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator[Epoch]:
    """Train the model in place, in training mode, and come back after every epoch.

    Between epochs the caller may measure or stop. The loop changes no other object; global random
    states are the caller's to keep (`auditkit.seeds.seeded`).

    Args:
        model: the model to train.
        task: gives the loss per example.
        pool: where the examples are.
        recipe: how to train; `recipe.epochs` is not read, `count` is.
        count: how many epochs, and the length of the learning-rate schedule.
        positions: the examples to train on; by default all.
        left_out: examples among them that are taken out of their batches. The order, the batches
            and the learning rates of the others are those they would have with them, so that two
            trainings of one seed differ by these examples and by little else. A batch of which none
            is left makes no step; an example left alone joins a batch beside its own.
        targets: int64 [len(pool)]; labels to train on in place of the pool's own.
        keep_probabilities: whether epochs bring class probabilities; needs class outputs.
        seed: for the order of the examples.
        device: where the model and batches go.

    Raises:
        PoolError: there are no examples at `positions`, or all of them are left out.
        NonFiniteLossError: the loss became NaN or infinite; the message names an example.
        ReducedLossError: the task's loss is not one number per example.
        SettingError: the recipe names no learning rate (see `with_learning_rate`).
        TaskError: the model has no trainable parameter, or the loss does not depend on any.
    """
    device = torch.device(device)
    chosen = every(pool) if positions is None else positions
    if len(chosen) == 0:
        raise PoolError("There is no example to train on: `positions` is empty.")
    kept = np.ones(len(chosen), bool) if left_out is None else ~np.isin(chosen, left_out)
    if not kept.any():
        raise PoolError("There is no example to train on: all at `positions` are left out.")
    shuffler = stream(seed, "order of training")
    model.to(device)
    optimizer = make_optimizer(model, recipe)
    cuts = cuts_of(len(chosen), recipe.batch_size)
    anneals = recipe.schedule == "cosine"
    rates = [float(group["lr"]) for group in optimizer.param_groups] if anneals else []
    for number in range(1, count + 1):
        model.train()
        order = shuffler.permutation(len(chosen))
        losses, logs = _unknown(len(chosen)), None
        for step, places in remaining([order[cut] for cut in cuts], kept):
            if anneals:
                done = ((number - 1) * len(cuts) + step) / (count * len(cuts))
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * _annealed(done)
            with differentiable():
                batch = collate(pool, chosen[places], device=device)
                if targets is not None:
                    batch = task.with_targets(batch, targets[chosen[places]].to(device))
                if recipe.augment is not None:
                    batch = recipe.augment(batch)
                if keep_probabilities:
                    loss, outputs = task.loss_and_outputs(model, batch)
                    logs = _unknown(len(chosen), outputs.shape[1]) if logs is None else logs
                    logs[places] = outputs.float().log_softmax(dim=1).cpu()
                else:
                    loss = task.loss(model, batch)
                per_example(loss, pool, chosen[places])
                _descend(model, optimizer, loss.mean())
            losses[places] = loss.detach().float().cpu()
        yield Epoch(number, losses, logs)


def fit(
    model: nn.Module,
    task: Task,
    pool: Pool,
    recipe: Recipe,
    *,
    held_out: float = 0.1,
    patience: int = 5,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = SILENT,
) -> FitLog:
    """Train the model in place for at most `recipe.epochs`, and keep its best weights.

    The best weights are those of lowest loss on a random share `held_out` of the pool, which is
    not trained on; training stops after `patience` epochs without a better one.

    Raises:
        PoolError: a pool of one example.
        NonFiniteLossError: the loss became NaN or infinite; the message names an example.
    """
    if len(pool) < 2:
        raise PoolError(
            "The pool has one example: fitting needs some to train on and some to judge."
        )
    device = torch.device(device)
    shuffled = stream(seed, "held out of a fit").permutation(every(pool))
    size = min(max(1, round(held_out * len(pool))), len(pool) - 1)
    judged, trained = np.sort(shuffled[:size]), np.sort(shuffled[size:])
    with seeded(seed):
        recipe = with_learning_rate(
            recipe, model, task, pool, positions=trained, seed=seed, device=device
        )
        assert recipe.learning_rate is not None  # noqa: S101 - tells the type checker
        best = FitLog(0, recipe.learning_rate, float("inf"), None)
        best_state: dict[str, Tensor] = {}
        passes = epochs(
            model,
            task,
            pool,
            recipe,
            count=recipe.epochs,
            positions=trained,
            seed=seed,
            device=device,
        )
        with progress.step("training a model", recipe.epochs) as step:
            for epoch in passes:
                step.advance()
                loss, accuracy = evaluate(model, task, pool, positions=judged, device=device)
                if loss < best.held_out_loss:
                    best = FitLog(epoch.number, recipe.learning_rate, loss, accuracy)
                    best_state = copy.deepcopy(model.state_dict())
                elif epoch.number - best.epochs >= patience:
                    break
    model.load_state_dict(best_state)
    model.eval()
    return best


def evaluate(
    model: nn.Module,
    task: Task,
    pool: Pool,
    *,
    positions: Positions | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> tuple[float, float | None]:
    """Mean loss over examples, and accuracy where the task has class scores."""
    chosen = every(pool) if positions is None else positions
    model.eval()
    loss, right = 0.0, 0.0
    classifies = task.has_outputs and task.likelihood == "categorical"
    with torch.no_grad():
        for where, batch in batches(
            pool, chosen, batch_size=batch_size, device=torch.device(device)
        ):
            loss += float(per_example(task.loss(model, batch), pool, where).double().sum())
            if classifies:
                scores, labels = task.outputs(model, batch)
                right += float((scores.argmax(dim=1) == labels).sum())
    return loss / len(chosen), right / len(chosen) if classifies else None


def with_learning_rate(
    recipe: Recipe,
    model: nn.Module,
    task: Task,
    pool: Pool,
    *,
    positions: Positions | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Recipe:
    """The recipe with its learning rate, or with the best of three on a small part of the pool.

    Each rate trains a copy of the model for some forty steps on up to 2,000 examples, and is judged
    by the loss on 500 others.
    """
    if recipe.learning_rate is not None or callable(recipe.optimizer):
        return recipe if recipe.learning_rate is not None else replace(recipe, learning_rate=0.0)
    chosen = every(pool) if positions is None else positions
    chosen = stream(seed, "trial of rates").permutation(chosen)[: _TRIAL_EXAMPLES + 500]
    size = max(1, len(chosen) // 5)
    judged, trained = chosen[:size], chosen[size:]
    if len(trained) == 0:
        return replace(recipe, learning_rate=LEARNING_RATES[1])
    count = max(1, round(_TRIAL_STEPS / len(cuts_of(len(trained), recipe.batch_size))))
    losses = {}
    for rate in LEARNING_RATES:
        with differentiable():
            trial, tried = copy.deepcopy(model), replace(recipe, learning_rate=rate)
        passes = epochs(
            trial, task, pool, tried, count=count, positions=trained, seed=seed, device=device
        )
        try:
            with seeded(seed):
                for _ in passes:
                    pass
            losses[rate] = evaluate(trial, task, pool, positions=judged, device=device)[0]
        except NonFiniteLossError:
            if rate == LEARNING_RATES[0]:
                raise  # a higher one will not do better
            break
    return replace(recipe, learning_rate=min(losses, key=lambda rate: losses[rate]))


def _annealed(done: float) -> float:
    """The share of the learning rate that is taken when a share of the training is done.

    Cosine annealing without restarts (Loshchilov and Hutter 2017, equation 5).
    """
    return (1 + math.cos(math.pi * done)) / 2


def _unknown(*shape: int) -> Tensor:
    return torch.full(shape, torch.nan)


def _descend(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of the optimizer; no gradient stays behind, in this model or another."""
    slopes = gradient(loss, model)
    for name, weight in model.named_parameters():
        weight.grad = slopes.get(name)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer on the model's trainable parameters.

    Raises:
        SettingError: a named optimizer without a learning rate.
        TaskError: the model has no trainable parameter.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise TaskError("The model has no trainable parameter: unfreeze what was trained.")
    if callable(recipe.optimizer):
        return recipe.optimizer(weights)
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if rate is None:
        raise SettingError("The recipe names no learning rate: set one, or choose one first.")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=rate, momentum=recipe.momentum, weight_decay=decay)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
