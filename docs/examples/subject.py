"""What auditkit is to look at: the trained model and the data it was trained on."""

from __future__ import annotations

import torch
from train import load_data, make_model

import auditkit


def subject() -> auditkit.Subject:
    """The digit classifier and its training data."""
    model = make_model()
    model.load_state_dict(torch.load("model.pt", weights_only=True))
    images, labels = load_data()
    return auditkit.Subject(
        task=auditkit.ClassificationTask(model, class_names=[str(digit) for digit in range(10)]),
        train=auditkit.Pool.from_arrays(images, labels),
        recipe=auditkit.Recipe(
            optimizer="sgd", learning_rate=0.1, momentum=0.9, batch_size=64, epochs=20
        ),
        fresh=make_model,
        name="digit classifier",
    )
