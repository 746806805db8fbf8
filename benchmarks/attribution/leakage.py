"""Finding leaked examples: exact copies of training images as queries.

    python -m benchmarks.attribution.leakage
    python -m benchmarks.attribution.leakage memorizing --only auditkit --again

A CNN of 23,946 parameters on 2,000 Fashion-MNIST images of 14x14, in two states: trained for too
short (`under-fitted`) and until it knows every image by heart (`memorizing`), where losses have
hardly any gradient left. A hundred training images are the queries; a method finds one if the
original has the highest score of all 2,000 (top-1), or one of the five highest (top-5). Finished
cells are kept in the output file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from auditkit import Recipe
from benchmarks.attribution.case import Case, Floats
from benchmarks.attribution.results import Cell, Results
from benchmarks.attribution.running import METHODS, best, run
from benchmarks.attribution.settings import Data, Setting, measured, small_cnn, small_fashion
from benchmarks.attribution.settings import trained as train

OUT = Path("benchmarks/results/attribution-leakage.json")
COPIES = 100

_RECIPE = Recipe(
    optimizer="sgd", learning_rate=0.05, momentum=0.9, batch_size=50, schedule="cosine"
)
REGIMES = {"under-fitted": replace(_RECIPE, epochs=3), "memorizing": replace(_RECIPE, epochs=40)}


@dataclass(frozen=True)
class Leaked:
    """A trained network, its training images, and which of them are the queries."""

    case: Case
    originals: npt.NDArray[np.int64]


def leaked(recipe: Recipe) -> Leaked:
    """Train the network; the queries are copies of a hundred of its training images."""
    images = small_fashion(2_000, 1, seed=1)
    originals = np.random.default_rng([1, 100]).permutation(len(images.train_y))[:COPIES]
    data = Data(
        images.train_x, images.train_y,
        images.train_x[originals].clone(), images.train_y[originals].clone(),
    )  # fmt: skip
    setting = Setting("leakage", "", lambda: data, small_cnn, recipe, subsets=0, seeds=0)
    return Leaked(Case([train(setting, data, seed=0)], data, recipe), originals)


def judge(scores: Floats, originals: npt.NDArray[np.int64]) -> Cell:
    """How often the original is first, and among the first five; ties count half."""
    own_score = scores[np.arange(len(originals)), originals][:, None]
    above = (scores > own_score).sum(1) + ((scores == own_score).sum(1) - 1) / 2
    return {"top-1": float((above < 1).mean()), "top-5": float((above < 5).mean())}


def table(results: Results) -> str:
    """Markdown: per method the best setting in each regime."""
    lines = ["| method | " + " | ".join(f"{name}, top-1 | top-5" for name in REGIMES) + " |"]
    lines.append("|---|" + "---|" * 2 * len(REGIMES))
    for method in METHODS:
        found = [best(results, method, about=(regime,), figure="top-1") for regime in REGIMES]
        if any(found):
            cells = [f"{pair[1]['top-1']:.2f} | {pair[1]['top-5']:.2f}" if pair else " | "
                     for pair in found]  # fmt: skip
            lines.append(f"| {method.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command()
@click.argument("regimes", nargs=-1, type=click.Choice(list(REGIMES)))
@click.option("--only", default="", help="Methods whose names begin with this.")
@click.option("--again", is_flag=True, help="Measure again what is in the output file.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
def main(regimes: tuple[str, ...], *, only: str, again: bool, out: Path) -> None:
    """Measure what is missing in the output file and print the table."""
    torch.set_num_threads(1)
    results = Results.read(out)
    for regime in regimes or REGIMES:
        found = leaked(REGIMES[regime])
        data = found.case.data
        margins, losses = measured(found.case.models[0], data.train_x, data.train_y)
        results.put(
            (regime, "the network"),
            {"examples with a probability above one half": float((margins > 0).float().mean()),
             "loss in training": float(losses.mean())},
        )  # fmt: skip
        run(
            found.case,
            partial(judge, originals=found.originals),
            results,
            about=(regime,),
            only=only,
            again=again,
        )
    click.echo(table(results))


if __name__ == "__main__":
    main()
