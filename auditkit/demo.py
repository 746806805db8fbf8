"""The demonstration: scikit-learn's handwritten digits with some labels known to be wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

from auditkit.devices import check_device
from auditkit.findings import Findings
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.seeds import seeded
from auditkit.subject import Recipe, Subject
from auditkit.tasks import ClassificationTask
from auditkit.training import fit


@dataclass(frozen=True)
class Demo:
    """A subject some of whose labels were made wrong, and the ids of these."""

    subject: Subject
    planted: frozenset[str]


@dataclass(frozen=True)
class Verdict:
    """What was flagged against what is truly wrong; shares between 0 and 1."""

    flagged: int
    planted: int
    right: int

    @property
    def precision(self) -> float:
        """The share of the flagged labels that are wrong; 1 where none is flagged."""
        return self.right / self.flagged if self.flagged else 1.0

    @property
    def recall(self) -> float:
        """The share of the wrong labels that are flagged; 1 where none is wrong."""
        return self.right / self.planted if self.planted else 1.0

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        return (
            f"Against the truth: {self.right} of the {self.flagged} flagged labels are wrong "
            f"(precision {self.precision:.0%}), and these are {self.recall:.0%} of the "
            f"{self.planted} that were made wrong (recall)."
        )


def digits(
    *,
    share: float = 0.05,
    examples: int | None = None,
    epochs: int = 30,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> Demo:
    """Handwritten digits, a share of them under a wrong label, and a network trained on them.

    Args:
        share: of the labels to make wrong, between 0 and 1.
        examples: how many digits to take; by default all 1,797.
        epochs: at most; training stops early.
        seed: for the labels made wrong, the network's first weights and its training.
        device: where to train it.
        progress: of the training.
    """
    check_device(device)
    bunch = load_digits()
    images = (bunch.images[:examples, None] / 16).astype(np.float32)
    labels = bunch.target[:examples].astype(np.int64)
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(labels), size=round(share * len(labels)), replace=False)
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, size=len(wrong))) % 10
    pool = Pool.from_arrays(images, labels)
    recipe = Recipe(learning_rate=3e-3, weight_decay=1e-2, batch_size=64, epochs=epochs)
    with seeded(seed):
        task = ClassificationTask(_network(), class_names=[str(digit) for digit in range(10)])
    log = fit(task.model, task, pool, recipe, seed=seed, device=device, progress=progress)
    accuracy = f"{log.held_out_accuracy:.1%}" if log.held_out_accuracy is not None else "unknown"
    subject = Subject(
        task=task,
        train=pool,
        recipe=recipe,
        name="handwritten digits",
        description=(
            f"{len(pool):,} handwritten digits of 8 x 8 pixels, {len(wrong)} of them under a label "
            "made wrong.",
            f"A convolutional network trained on 90 % of them for {log.epochs} epochs; accuracy "
            f"on the labels of the rest {accuracy}.",
        ),
    )
    return Demo(subject, frozenset(pool.ids[place] for place in wrong))


def verdict(findings: Findings, planted: frozenset[str]) -> Verdict:
    """What was flagged against what is truly wrong."""
    flagged = set(findings.flagged["example_id"])
    return Verdict(flagged=len(flagged), planted=len(planted), right=len(flagged & planted))


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
