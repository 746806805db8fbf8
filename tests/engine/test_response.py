from __future__ import annotations

import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.response import FiniteResponse
from auditkit.engine.update import Update


def test_the_response_is_the_change_per_step_and_training_example(
    classifier: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    task, calls = ClassificationTask(classifier), []

    def counted(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        calls.append(1)
        return task.loss(model, batch)

    executor = LocalExecutor(device=torch.device("cpu"))
    pool = Pool.from_arrays(*blobs)
    response = FiniteResponse(counted, classifier, pool, executor=executor, what="loss")
    direction = {"2.bias": torch.tensor([1.0, 0.0, -1.0])}
    for step in (0.5, 2.0):
        with torch.no_grad():
            before = task.loss(classifier, blobs)
            scores = classifier(blobs[0]) + step * direction["2.bias"]
            after = nn.functional.cross_entropy(scores, blobs[1], reduction="none")
        found = response.to(Update(direction, step, rise=1.0), examples=40)
        assert torch.allclose(found, (after - before) / (step * 40), atol=1e-6)
    assert len(calls) == 3  # the unmoved pass once, and one pass for each update
    assert torch.equal(response.base(), executor.measure(task.loss, classifier, pool))
