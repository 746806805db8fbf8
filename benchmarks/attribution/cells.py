"""One cell of the cost table: the network, the data, and what is measured in one process."""

from __future__ import annotations

import ctypes
import gc
import importlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from auditkit import ClassificationTask, Pool, Recipe
from auditkit.training import epochs
from benchmarks.attribution.case import Case
from benchmarks.attribution.networks import cnn, resnet18
from benchmarks.attribution.results import Cell
from benchmarks.attribution.settings import Data
from benchmarks.attribution.ways import Way, inference
from benchmarks.fashion import DEVIATION, MEAN, read_images

RECIPE = Recipe(optimizer="sgd", learning_rate=0.02, momentum=0.9, weight_decay=5e-4)


@dataclass(frozen=True)
class Job:
    """A network, how many images it is trained and scored on, and the numbers of queries."""

    title: str
    network: Callable[[int], nn.Sequential]
    images: int
    queries: tuple[int, ...]


JOBS = {
    "cnn": Job("CNN, 150,078 weights, 10,000 images", cnn, 10_000, (1, 8, 64, 1_000)),
    "resnet18": Job("ResNet-18, GroupNorm, width 32, 2,000 images", resnet18, 2_000, (1, 8)),
}


def prepare(name: str, cache: Path) -> Path:
    """Train the network for two epochs, once; the file holds its weights and the images."""
    file = cache / f"cost-{name}.npz"
    if not file.exists():
        job, arrays = JOBS[name], {}
        for role, part, count in (("train", "train", job.images), ("query", "t10k", 1_000)):
            images, labels = read_images(part)
            arrays[f"{role}_x"] = (
                (images[:count, None] / np.float32(255) - MEAN) / DEVIATION
            ).astype(np.float32)
            arrays[f"{role}_y"] = labels[:count]
        model, pool = job.network(0), Pool.from_arrays(arrays["train_x"], arrays["train_y"])
        for _ in epochs(model, ClassificationTask(model), pool, RECIPE, count=2):
            pass
        file.parent.mkdir(parents=True, exist_ok=True)
        weights = {f"weight {key}": value.numpy() for key, value in model.state_dict().items()}
        np.savez(file, **arrays, **weights)
    return file


def load(name: str, file: Path, *, queries: int, images: int | None = None) -> Case:
    """The network with its weights, and as many queries and images as asked for."""
    stored, model = np.load(file), JOBS[name].network(0).eval()
    model.load_state_dict({key: torch.from_numpy(stored[f"weight {key}"])
                           for key in model.state_dict()})  # fmt: skip
    data = Data(*(torch.from_numpy(stored[key][:count].copy()) for key, count in (
        ("train_x", images), ("train_y", images), ("query_x", queries), ("query_y", queries),
    )))  # fmt: skip
    return Case([model], data, RECIPE)


def peak() -> float:
    """The peak resident set of this process so far, in MiB (Linux).

    `getrusage` will not do: a child's peak begins at its parent's.
    """
    [line] = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    ]
    return int(line.split()[1]) / 1024


def forget_peak() -> float:
    """Give freed memory back and begin a new peak from here (Linux); what it is now, in MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def measure(way: Way, name: str, file: Path, queries: int) -> Cell:
    """Do one cell in this process."""
    torch.set_num_threads(1)
    importlib.import_module(way.library)
    way.work(load(name, file, queries=1, images=32))
    case = load(name, file, queries=queries)
    passes = [inference(case)["scores"] for _ in range(2)]
    before = forget_peak()
    found: Cell = dict(way.work(case))
    found["added MiB"] = peak() - before
    passes += [inference(case)["scores"] for _ in range(2)]
    found["pass"] = statistics.median(passes)
    return found
