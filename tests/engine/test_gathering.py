"""Sums of an estimate do not depend on batches, nor on what was read and thrown away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool
from auditkit.engine.curvature import steady_function
from auditkit.engine.gathering import Gathered
from auditkit.engine.layers import Dense
from auditkit.engine.per_example import Reader
from auditkit.engine.probes import make_probes

CPU = torch.device("cpu")


class Mixed(nn.Module):
    """Two layers that can have factors, one that cannot, and a recurrent cell."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 5), nn.LayerNorm(5)
        self.cell, self.head = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm(self.first(inputs)).tanh()
        scores: Tensor = self.head(self.cell(torch.stack([hidden, hidden], dim=1))[0][:, -1])
        return scores


def gathered(size: int, *, wasted: int = 0) -> Gathered:
    """What batches of that size add up to; of each, some more was read before."""
    torch.manual_seed(0)
    model = Mixed().eval()
    pool = Pool.from_arrays(torch.randn(40, 6), torch.arange(40) % 3)
    task = ClassificationTask(model)
    reader = Reader(model, steady_function(task), pool, device=CPU)
    probes = make_probes(task, model, pool, most=50, seed=0, device=CPU)
    dense = {own.name: own for own in reader.layers if isinstance(own, Dense)}
    found = Gathered(reader, probes, {"first": dense["first"]}, seed=0)
    for start in range(0, len(probes), size):
        for more in range(wasted):
            found.read(slice(start, min(start + size + more, len(probes))))
        found.add(found.read(slice(start, min(start + size, len(probes)))))
    return found


def test_batches_do_not_matter() -> None:
    one, other = gathered(32), gathered(7, wasted=2)
    factors = one.factors()["first"], other.factors()["first"]
    torch.testing.assert_close(factors[0].input_values, factors[1].input_values)
    torch.testing.assert_close(factors[0].output_values, factors[1].output_values)
    diagonal = other.diagonal()
    for name, own in one.diagonal().items():
        torch.testing.assert_close(own, diagonal[name], msg=name)
        assert own.max() > 0, name


def test_every_parameter_is_in_one_of_the_forms() -> None:
    found, weights = gathered(32), dict(Mixed().named_parameters())
    assert list(found.factors()) == ["first"]
    shapes = {name: own.shape for name, own in found.diagonal().items()}
    assert shapes == {n: w.shape for n, w in weights.items() if not n.startswith("first.")}
