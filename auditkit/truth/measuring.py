"""Many retrainings, one after another, and what the queries measure under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from auditkit.engine.passes import LocalExecutor
from auditkit.engine.sides import measure_function
from auditkit.errors import SettingError
from auditkit.progress import Progress
from auditkit.seeds import seeded
from auditkit.truth.folder import Kept, Values, facts
from auditkit.truth.retraining import Leg, Retraining, trained, with_rate


def measured(
    retraining: Retraining, legs: Sequence[Leg], *, folder: Path | str | None, progress: Progress
) -> list[Values]:
    """The measures of the queries under the model of each leg, [query] each.

    A leg that is in the folder is not done again; one that is finished is written at once.

    Raises:
        SettingError: no queries, or a measure that the task does not have.
        StoreError: the folder holds retrainings of something else, or cannot be written or read.
    """
    measure_function(
        retraining.task, retraining.measure, default=retraining.task.measure
    )  # checks it
    queries = retraining.asked
    described = {} if folder is None else facts(retraining, progress=progress)
    path = None if folder is None else Path(folder)
    kept = Kept(path, described, queries=len(queries))
    found: list[Values] = []
    with progress.step("retraining", len(legs)) as step:
        for leg in legs:
            values = kept.get(leg)
            if values is None:
                retraining = _with_kept_rate(retraining, kept)
                values = _under(retraining, leg)
                kept.put(leg, values)
            found.append(values)
            step.advance()
    return found


def seeds_of(retraining: Retraining, count: int) -> range:
    """The seeds of `count` retrainings of the same examples.

    Raises:
        SettingError: fewer than one.
    """
    if count < 1:
        raise SettingError(f"seeds is {count}: every subset needs one retraining or more.")
    return range(retraining.seed, retraining.seed + count)


def _with_kept_rate(retraining: Retraining, kept: Kept) -> Retraining:
    if retraining.recipe.learning_rate is not None:
        return retraining
    if kept.learning_rate is not None:
        recipe = replace(retraining.recipe, learning_rate=kept.learning_rate)
        return replace(retraining, recipe=recipe)
    retraining = with_rate(retraining)
    kept.settle(retraining.recipe.learning_rate)
    return retraining


def _under(retraining: Retraining, leg: Leg) -> Values:
    """The queries' measures under a new model; random measures draw the same for each."""
    model = trained(retraining, leg)
    executor = LocalExecutor(
        device=torch.device(retraining.device), batch_size=retraining.batch_size
    )
    task = retraining.task
    function = measure_function(task, retraining.measure, default=task.measure)
    with seeded(retraining.seed, "measuring after a retraining"):
        asked = task.prepared(retraining.asked, device=executor.device, asked=True)
        values = executor.measure(function, model, asked, what=retraining.measure_name)
    found: Values = values.numpy()
    return found
