"""What really happens: networks retrained on random halves of the training examples.

    python -m benchmarks.attribution.truth digits

One file per experiment, resumed where it stands: which examples each subset holds, and the margin
and loss of every query under every retrained network. Beside it lie the data and the networks
trained on everything. `auditkit.truth.half_subsets` reads one measure off a retraining; both are
wanted here, and every retraining has a seed of its own, so the loop over them stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from auditkit.truth import Halves, ceiling
from benchmarks.attribution.settings import SETTINGS, Data, Setting, measured, trained

Floats = npt.NDArray[np.float32]
CACHE = Path("benchmarks/.cache")
MODELS = 5


@dataclass(frozen=True)
class Truth:
    """Queries under networks retrained on halves, by both measures of one retraining.

    Attributes:
        margin: by the negative log-odds of the query's label.
        loss: by its loss.
    """

    margin: Halves
    loss: Halves

    @property
    def within_reach(self) -> float:
        """About the LDS by margin that perfect scores would have."""
        return float(ceiling(self.margin))


def halves(count: int, *, subsets: int, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Random halves of the examples, bool [subset, train]."""
    rng = np.random.default_rng([seed, 50])
    members = np.zeros((subsets, count), dtype=bool)
    for row in members:
        row[rng.permutation(count)[: count // 2]] = True
    return members


def ground_truth(setting: Setting, data: Data, *, cache: Path = CACHE) -> Truth:
    """Retrain what the cache does not hold yet."""
    file = cache / f"lds-{setting.name}.npz"
    members = halves(len(data.train_y), subsets=setting.subsets)
    shape = (setting.seeds, setting.subsets, len(data.query_y))
    runs = {"margins": np.full(shape, np.nan, np.float32)}
    runs["losses"] = runs["margins"].copy()
    if file.exists():
        stored = np.load(file)
        if stored["margin_runs"].shape != shape or (stored["members"] != members).any():
            raise click.ClickException(f"{file} is of another experiment: remove it.")
        runs = {"margins": stored["margin_runs"], "losses": stored["loss_runs"]}
    missing = [(seed, subset) for seed in range(setting.seeds) for subset in range(setting.subsets)
               if np.isnan(runs["losses"][seed, subset, 0])]  # fmt: skip
    for count, (seed, subset) in enumerate(missing, start=1):
        positions = np.flatnonzero(members[subset])
        model = trained(setting, data, seed=1_000 * (seed + 1) + subset, positions=positions)
        margin, loss = measured(model, data.query_x, data.query_y)
        runs["margins"][seed, subset], runs["losses"][seed, subset] = margin, loss
        if count % 10 == 0 or count == len(missing):
            _write(file, members, runs)
            click.echo(f"{setting.name}: {count} of {len(missing)} networks retrained", err=True)
    return Truth(
        _halves(members, -runs["margins"], "margin"), _halves(members, runs["losses"], "loss")
    )


def trained_models(
    setting: Setting, data: Data, *, cache: Path = CACHE, count: int = MODELS
) -> list[nn.Sequential]:
    """Networks trained on all examples, for seeds 0, 1, ...; the first is the one explained."""
    models = []
    for seed in range(count):
        file = cache / f"model-{setting.name}-{seed}.safetensors"
        if file.exists():
            model = setting.network(seed).eval()
            model.load_state_dict(load_file(file))
        else:
            model = trained(setting, data, seed=seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(model.state_dict(), file)
        models.append(model)
    return models


def _halves(members: npt.NDArray[np.bool_], runs: Floats, measure: str) -> Halves:
    """Measures [seed, subset, query] as `auditkit.truth` has them."""
    by_seed = runs.transpose(1, 0, 2)
    queries, train = (tuple(map(str, range(n))) for n in (by_seed.shape[2], members.shape[1]))
    return Halves(members, by_seed.mean(1), by_seed, queries, train, measure)


def _write(file: Path, members: npt.NDArray[np.bool_], runs: dict[str, Floats]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    np.savez(
        unfinished, members=members, margin_runs=runs["margins"], loss_runs=runs["losses"],
        margins=runs["margins"].mean(0), losses=runs["losses"].mean(0),
    )  # fmt: skip
    unfinished.replace(file)


def save_data(setting: Setting, data: Data, *, cache: Path = CACHE) -> None:
    """The experiment's data beside its ground truth, for work outside the benchmark."""
    tensors: dict[str, Tensor] = vars(data)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    np.savez(cache / f"data-{setting.name}.npz", **arrays)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(SETTINGS)))
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
def main(names: tuple[str, ...], cache: Path) -> None:
    """Retrain for the named experiments, or for all."""
    torch.set_num_threads(1)
    for name in names or SETTINGS:
        setting, data = SETTINGS[name], SETTINGS[name].data()
        trained_models(setting, data, cache=cache)
        save_data(setting, data, cache=cache)
        ground_truth(setting, data, cache=cache)


if __name__ == "__main__":
    main()
