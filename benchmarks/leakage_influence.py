"""The influence stage of the leakage audit alone: do copies find their originals, by the model?

    python -m benchmarks.leakage_influence --out benchmarks/results/leakage_influence.json

A CNN with BatchNorm on Fashion-MNIST images, trained as usual or until it knows its training set by
heart. Training images are the queries, as they are and altered as the audit plants them; nothing
but the model is asked, and features are withheld. Measured: how often the original has the highest
score of the whole train pool, for the audit's way, for others of the engine, and for the cosine of
penultimate features, which is cheap and stands beside.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from auditkit_leakage.altering import IMAGES
from auditkit_leakage.influence import treat
from torch import nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe
from auditkit.training import epochs as train_epochs
from benchmarks.fashion import CLASSES, DEVIATION, MEAN, RECIPE, read_images

Floats = npt.NDArray[np.float32]
REGIMES = {"trained": 12, "memorizing": 40}
"""Epochs of training."""

EXACT = "exact copy"


@dataclass(frozen=True)
class Case:
    """A trained model, its engine and its training images."""

    engine: ForwardINF
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    fitted: float


def network(seed: int) -> nn.Sequential:
    """A convolutional network with BatchNorm, 106,058 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def scaled(pixels: npt.NDArray[np.uint8]) -> Floats:
    """What the network is given, [n, 1, 28, 28]."""
    return ((pixels[:, None] / np.float32(255) - MEAN) / DEVIATION).astype(np.float32)


def prepare(epochs: int, *, images: int, seed: int) -> Case:
    """Train the network on a sample of the training images."""
    pixels, labels = read_images()
    chosen = np.random.default_rng([seed, 31]).permutation(len(pixels))[:images]
    pixels, labels = pixels[chosen], labels[chosen]
    task = ClassificationTask(network(seed), class_names=CLASSES)
    train = Pool.from_arrays(scaled(pixels), labels)
    recipe: Recipe = replace(RECIPE, epochs=epochs)
    for _ in train_epochs(task.model, task, train, recipe, count=epochs, seed=seed):
        pass
    task.model.eval()
    engine = ForwardINF(task, train=train, recipe=recipe, seed=seed, replays=0)  # as audits have it
    outputs = engine.evaluate(train).outputs
    if outputs is None:
        raise RuntimeError("a classification task has outputs")
    return Case(engine, pixels, labels, float((outputs.argmax(axis=1) == labels).mean()))


KINDS = {EXACT: "identical"} | {name: name for name in IMAGES if name != "identical"}
"""How a query was altered, and what the audit calls it where it plants copies."""


def altered(case: Case, kinds: list[str], places: npt.NDArray[np.int64], seed: int) -> Pool:
    """Copies of training images as queries, all of one kind after all of another."""
    random = np.random.default_rng([seed, 77])
    images = [IMAGES[KINDS[kind]](case.pixels[place], random) for kind in kinds for place in places]
    return Pool.from_arrays(scaled(np.stack(images)), np.tile(case.labels[places], len(kinds)))


def first(scores: Floats, places: npt.NDArray[np.int64]) -> float:
    """How often the original has the highest score; a tie counts as not."""
    own = scores[np.arange(len(places)), places][:, None]
    return float(((scores >= own).sum(axis=1) == 1).mean())


def measure(case: Case, *, queries: int, seed: int) -> dict[str, float]:
    """Top-1 rates by kind of copy and way."""
    drawn = np.random.default_rng([seed, 5]).permutation(len(case.pixels))[:queries]
    places = drawn.astype(np.int64)
    train, engine = case.engine.train, case.engine
    asked = altered(case, list(KINDS), places, seed)
    start = time.process_time()
    treated = treat(
        engine,
        asked,
        train,
        evaluation=np.arange(len(asked)),
        candidates=np.tile(places, len(KINDS)),
        among=None,
    )
    found = {"processor seconds of the audit's way": time.process_time() - start}
    known, features = _unit(engine.features(train)), _unit(engine.features(asked))
    for number, kind in enumerate(KINDS):
        part = slice(number * queries, (number + 1) * queries)
        found[f"{kind}, audit"] = float((treated.rank[part] == 1).mean())
        found[f"{kind}, feature cosine"] = first(features[part] @ known.T, places)
    exact = altered(case, [EXACT], places, seed)
    plain = engine.configured(measure="margin", response="first-order")
    found[f"{EXACT}, not relative, on losses"] = first(plain.influence(exact, train).values, places)
    margins = engine.configured(measure="margin", train_measure="margin", response="first-order")
    found[f"{EXACT}, not relative"] = first(margins.influence(exact, train).values, places)
    published = ForwardINF.published(engine.task, train=train, seed=seed)
    found[f"{EXACT}, published"] = first(np.abs(published.influence(exact, train).values), places)
    return found


def _unit(features: Floats) -> Floats:
    length: Floats = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, 1e-12)


@click.command()
@click.option("--images", default=2_000)
@click.option("--queries", default=50)
@click.option("--seeds", default=3)
@click.option("--regime", "regimes", multiple=True, default=tuple(REGIMES))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/results/leakage_influence.json"),
)
def main(images: int, queries: int, seeds: int, regimes: tuple[str, ...], out: Path) -> None:
    """Measure every cell and write it down as soon as it is finished."""
    torch.set_num_threads(1)
    results: dict[str, object] = {"date": time.strftime("%Y-%m-%d"), "images": images,
                                  "queries": queries, "cells": (cells := {})}  # fmt: skip
    for seed in range(seeds):
        for regime in regimes:
            case = prepare(REGIMES[regime], images=images, seed=seed)
            cells[f"{regime}, seed {seed}"] = {
                "accuracy in training": case.fitted,
                **measure(case, queries=queries, seed=seed),
            }
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(results, indent=1))
            click.echo(json.dumps(cells[f"{regime}, seed {seed}"]))


if __name__ == "__main__":
    main()
