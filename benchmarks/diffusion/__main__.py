"""Which training images shaped this image? Exemplars, and retraining on halves, as ground truth.

    python -m benchmarks.diffusion.truth --cache FOLDER     # 106 retrainings; goes on where it was
    python -m benchmarks.diffusion --cache FOLDER
    python -m benchmarks.diffusion --cache FOLDER --only "Forward-INF, loss"

A denoiser that knows 10,000 other garments is customized on 1,000 images, among them five groups of
ten exemplars. Asked are images that it generates of each group, images that it generates without,
and altered exemplars, always under the empty token, which says nothing of groups. Recall@10: the
share of a group's exemplars among the ten strongest of 1,000. LDS: how well scores foretell the
loss of the query under models customized on halves.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import click
import numpy as np
import torch

from auditkit.truth import LDS, Halves, lds
from benchmarks.diffusion.baselines import Floats
from benchmarks.diffusion.cost import costs
from benchmarks.diffusion.cost import table as cost_table
from benchmarks.diffusion.data import PER_GROUP, STYLES, Candidates, candidates
from benchmarks.diffusion.truth import CACHE, KINDS, Explained, Queries, digest, explained, halves
from benchmarks.diffusion.ways import (
    Case,
    Scored,
    baseline_ways,
    finite_ways,
    first_order_ways,
    scored,
)

Row: TypeAlias = dict[str, float]

OUT = Path("benchmarks/results/diffusion.json")
PEER = "D-TRAK"


class Judge:
    """Figures of scores on the queries of one use, `reported` or `tried`."""

    def __init__(self, cache: Path, data: Candidates, model: Explained, use: str) -> None:
        self.data, self.use = data, use
        self.queries = {kind: model.queries[f"{kind}, {use}"] for kind in KINDS}
        self.halves: dict[str, Halves] = {
            kind: halves(cache, data, f"{kind}, {use}", own) for kind, own in self.queries.items()
        }

    def row(self, found: Scored) -> tuple[Row, dict[str, LDS]]:
        """Recall of single queries and of groups, and LDS, by kind; and the latter with samples."""
        row: Row = {}
        predicted = {}
        for kind, own in self.queries.items():
            values = found.of(f"{kind}, {self.use}")
            if own.groups.any():
                row[f"recall, {kind}"] = self._recall(values, own.groups)
                together, groups = found.of_sets(f"{kind}, {self.use}", own)
                row[f"recall of groups, {kind}"] = self._recall(together, groups)
            predicted[kind] = lds(values, self.halves[kind])
            row[f"LDS, {kind}"] = predicted[kind].mean
            row[f"LDS, {kind}, standard error"] = predicted[kind].standard_error
            row[f"LDS, {kind}, by halves"] = predicted[kind].subset_error
        return row, predicted

    def _recall(self, values: Floats, groups: np.ndarray) -> float:
        top = np.argsort(-values, axis=1, kind="stable")[:, :PER_GROUP]
        hits = [
            np.isin(best, self.data.exemplars(group)).mean()
            for best, group in zip(top, groups, strict=True)
        ]
        return float(np.mean(hits))


def case(model: Explained, data: Candidates, cache: Path, use: str) -> Case:
    """All queries of a use, one kind after another."""
    names = [f"{kind}, {use}" for kind in KINDS]
    own: list[Queries] = [model.queries[name] for name in names]
    sizes = {name: len(one.images) for name, one in zip(names, own, strict=True)}
    images = np.concatenate([one.images for one in own])
    return Case(
        explained=model,
        data=data,
        images=images,
        ids=tuple(f"{name} {place}" for name, count in sizes.items() for place in range(count)),
        sets=tuple(
            f"{name}, {turn}, {group}" if group else ""
            for name, one in zip(names, own, strict=True)
            for turn, group in zip(one.rounds, one.groups, strict=True)
        ),
        sizes=sizes,
        cache=cache,
        name=f"{use}-{digest(images)}",
    )


def table(rows: dict[str, Row]) -> str:
    """Markdown: each method once, with the best of its settings in each column.

    Standard errors of LDS are by halves and queries, and in brackets by halves alone.
    """
    columns = ["recall, generated", "recall of groups, generated", "recall, altered",
               "recall of groups, altered", *(f"LDS, {kind}" for kind in KINDS)]  # fmt: skip
    lines = ["| method | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    methods = dict.fromkeys(name.split(" | lambda")[0] for name in rows)
    for method in methods:
        own = [row for name, row in rows.items() if name.split(" | lambda")[0] == method]
        cells = []
        for column in columns:
            best = max(own, key=lambda row, column=column: row[column])
            cell = f"{best[column]:.2f}"
            if column.startswith("LDS"):
                whole, by_halves = best[f"{column}, standard error"], best[f"{column}, by halves"]
                cell = f"{best[column]:.3f} ± {whole:.3f} ({by_halves:.3f})"
            cells.append(cell)
        lines.append(f"| {method.replace(' | ', ', ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(samples: dict[str, dict[str, LDS]]) -> dict[str, Row]:
    """LDS of each way less D-TRAK's best, with the standard error of the difference, by kind."""
    found: dict[str, Row] = {}
    peers = [name for name in samples if name.startswith(PEER)]
    for kind in KINDS if peers else ():
        best = max((samples[name][kind] for name in peers), key=lambda one: one.mean)
        for name, own in samples.items():
            if name.startswith("Forward-INF"):
                row = found.setdefault(name, {})
                row[kind] = own[kind].mean - best.mean
                row[f"{kind}, standard error"] = float((own[kind].resampled - best.resampled).std())
    return found


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), default=CACHE)
@click.option("--out", type=click.Path(path_type=Path), default=OUT)
@click.option("--only", default="", help="Score by ways whose names begin with this, no others.")
@click.option("--use", type=click.Choice(["reported", "tried"]), default="reported")
@click.option("--stored", is_flag=True, help="Judge the scores that are there, score nothing.")
@click.option(
    "--cost/--no-cost", default=True, help="Measure time and memory, or keep those measured before."
)
def main(cache: Path, out: Path, *, only: str, use: str, stored: bool, cost: bool) -> None:
    """Score what has not been scored, judge all of it and print the tables."""
    torch.set_num_threads(1)
    data = candidates()
    model = explained(cache, data)
    judge = Judge(cache, data, model, use)
    asked, rows, samples = case(model, data, cache, use), {}, {}
    ways = {**baseline_ways(), **first_order_ways(), **finite_ways()}
    for name, found in scored(ways, asked, only=only, stored=stored):
        rows[name], samples[name] = judge.row(found)
        click.echo(f"{name}: {rows[name]}", err=True)
    click.echo(table(rows))
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "diffusers", "numpy")},
        "candidates": len(data.images),
        "groups": len(STYLES),
        "queries": {kind: len(own.images) for kind, own in judge.queries.items()},
        "halves": {kind: len(own.members) for kind, own in judge.halves.items()},
        "ways": rows,
        "LDS less D-TRAK's best": differences(samples),
    }
    earlier = json.loads(out.read_text()) if out.exists() else {}
    result["cost"] = costs(cache) if cost else earlier.get("cost", {})
    click.echo(cost_table(result["cost"]))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
