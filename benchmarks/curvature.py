"""The engine's curvature against curvlinops, on a small network that both know.

    python -m benchmarks.curvature

A convolutional network on digits, in float64: the damped Gauss-Newton system that
`auditkit.engine.ggn` solves by its rows against curvlinops' Gauss-Newton operator written out and
solved densely, and the directions that KFAC and EK-FAC give against curvlinops' KFAC with exact
expectations.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from pathlib import Path

import click
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool
from auditkit.engine.curvature import estimate
from auditkit.engine.ggn import gauss_newton
from auditkit.engine.outputs import heaviest_rows

CPU = torch.device("cpu")
EXAMPLES, QUERIES, DAMPING = 300, 5, 1e-2


def network() -> nn.Sequential:
    """A trained network of 946 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 16), nn.Tanh(),
        nn.Linear(16, 10),
    ).double()  # fmt: skip


def trained() -> tuple[nn.Sequential, Tensor, Tensor]:
    """The network, its images and labels."""
    pixels, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(pixels[:EXAMPLES] / 16).view(-1, 1, 8, 8)
    targets = torch.tensor(labels[:EXAMPLES])
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model.eval(), inputs, targets


def flat(parts: dict[str, Tensor]) -> Tensor:
    """Directions as rows, [q, parameter]."""
    return torch.cat([part.flatten(start_dim=1) for part in parts.values()], dim=1)


def compare() -> dict[str, float]:
    """Relative errors of solutions, and cosines of directions, the worst over queries."""
    from curvlinops import GGNLinearOperator, KFACLinearOperator
    from curvlinops.kfac import FisherType

    model, inputs, targets = trained()
    task, pool = ClassificationTask(model), Pool.from_arrays(inputs, targets)
    loss = nn.CrossEntropyLoss()
    weights = dict(model.named_parameters())
    data = [(inputs, targets)]
    identity = torch.eye(sum(weight.numel() for weight in weights.values()), dtype=torch.float64)
    exact = GGNLinearOperator(model, loss, list(weights.values()), data) @ identity
    factored = KFACLinearOperator(
        model,
        loss,
        list(weights.values()),
        data,
        fisher_type=FisherType.TYPE2,
        separate_weight_and_bias=False,
    )
    factored = factored @ identity
    slopes = {
        name: torch.randn(QUERIES, *weight.shape, dtype=torch.float64)
        for name, weight in weights.items()
    }
    rows = heaviest_rows(task, model, pool, rows=100_000, device=CPU)
    ours = gauss_newton(task, model, pool, rows, device=CPU)
    ridge = ours.ridge(damping=DAMPING)
    wanted = _solved(exact, ridge, slopes)
    found = flat(ours.preconditioner(damping=DAMPING)(slopes))
    result = {"ggn, relative error": float((found - wanted).norm() / wanted.norm())}
    for kind in ("kfac", "ekfac"):
        solve = estimate(kind, task, model, pool, device=CPU).solver(ridge)
        for name, matrix in (("curvlinops KFAC", factored), ("exact", exact)):
            cosine = nn.functional.cosine_similarity(
                flat(solve(slopes)), _solved(matrix, ridge, slopes), dim=1
            )
            result[f"{kind}, cosine to {name}"] = float(cosine.min())
    return result


def _solved(matrix: Tensor, ridge: float, slopes: dict[str, Tensor]) -> Tensor:
    shifted = matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype)
    return torch.linalg.solve(shifted, flat(slopes).T).T


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/curvature.json")
)
def main(out: Path) -> None:
    """Compare, print and write down."""
    found = compare()
    versions = {name: version(name) for name in ("torch", "curvlinops-for-pytorch")}
    written = {"date": time.strftime("%Y-%m-%d"), "versions": versions, **found}
    out.write_text(json.dumps(written, indent=1))
    click.echo(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
