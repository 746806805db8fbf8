"""The caller's model and random states come back bit-identical."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe
from auditkit.engine.restore import blend, fresh_copy, private_copy
from auditkit.errors import TaskError
from auditkit.training import fit

CPU = torch.device("cpu")
RECIPE = Recipe(learning_rate=1e-3, epochs=1)


def watched_model() -> nn.Module:
    """With statistics, a frozen part, a gradient kept, a hook, and modes of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    )
    model[0].weight.requires_grad_(requires_grad=False)
    model(torch.randn(16, 6)).sum().backward()
    model[4].weight.grad = None
    model[1].register_forward_hook(lambda *_: None)
    model.train()
    model[3].eval()
    return model


def state_of(model: nn.Module) -> list[object]:
    """Everything about a model and the random states that could be changed, to compare."""
    state: list[object] = []
    for name, weight in model.named_parameters():
        grad = None if weight.grad is None else (id(weight.grad), weight.grad.numpy().tobytes())
        bits = weight.detach().numpy().tobytes()
        state.append((name, id(weight), bits, weight.requires_grad, grad, weight._version))
    for name, buffer in model.named_buffers():
        state.append((name, id(buffer), buffer.numpy().tobytes(), buffer._version))
    for name, module in model.named_modules():
        hooks = [list(module._forward_hooks), list(module._backward_hooks)]
        state.append((name, id(module), module.training, hooks, sorted(vars(module))))
    state.append(random.getstate())
    state.append(
        [part.tobytes() if isinstance(part, np.ndarray) else part for part in np.random.get_state()]
    )
    state.append(torch.get_rng_state().numpy().tobytes())
    state.append((torch.is_grad_enabled(), torch.get_num_threads()))
    return state


class Failing(ClassificationTask):
    """Breaks in its third call."""

    calls = 0

    def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.calls += 1
        if self.calls == self.after:
            raise ZeroDivisionError
        return super().outputs(model, batch)

    after = 3


@pytest.fixture
def pool(blobs: tuple[Tensor, Tensor]) -> Pool:
    return Pool.from_arrays(*blobs)


def score(task: ClassificationTask, pool: Pool) -> None:
    ForwardINF(task, train=pool).influence(pool.subset([0, 1]))


def score_checkpoints(task: ClassificationTask, pool: Pool) -> None:
    engine = ForwardINF(task, train=pool, checkpoints=[task.model.state_dict()])
    engine.influence(pool.subset([0, 1]))


def score_replays(task: ClassificationTask, pool: Pool) -> None:
    ForwardINF(task, train=pool, recipe=RECIPE, replays=1).influence(pool.subset([0, 1]))


def hold_out(task: ClassificationTask, pool: Pool) -> None:
    ForwardINF(task, train=pool, recipe=RECIPE, replays=0).holdout(folds=2, epochs=1)


def unlearn(task: ClassificationTask, pool: Pool) -> None:
    engine = ForwardINF(task, train=pool, recipe=RECIPE, replays=0)
    engine.holdout(folds=2, epochs=1, unlearn=0.2)


def check(task: ClassificationTask, pool: Pool) -> None:
    ForwardINF(task, train=pool).self_check(queries=2, candidates=20)


WORK = [score, score_checkpoints, score_replays, hold_out, unlearn, check]


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_nothing_of_the_callers_changes(
    work: Callable[[ClassificationTask, Pool], None], mode: str, pool: Pool
) -> None:
    model = watched_model()
    if mode != "mixed":
        model.train(mode == "train")
    before = state_of(model)
    work(ClassificationTask(model), pool)
    assert state_of(model) == before


@pytest.mark.parametrize("after", [1, 3, 5])
@pytest.mark.parametrize("work", WORK)
def test_nothing_of_the_callers_changes_by_an_exception(
    work: Callable[[ClassificationTask, Pool], None], after: int, pool: Pool
) -> None:
    model = watched_model()
    task = Failing(model)
    task.after = after
    before = state_of(model)
    with pytest.raises(ZeroDivisionError):
        work(task, pool)
    assert state_of(model) == before


def test_fitting_a_copy_leaves_the_model(pool: Pool) -> None:
    model = watched_model()
    copied = private_copy(model, CPU)
    before = state_of(model)
    fit(copied, ClassificationTask(model), pool, RECIPE)
    assert state_of(model) == before


def test_a_task_that_uses_its_own_model_gathers_no_gradients(pool: Pool) -> None:
    class Stubborn(ClassificationTask):
        def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return super().outputs(self.model, batch)

    model = nn.Linear(6, 3)
    before = state_of(model)
    for work in (score, hold_out):
        with pytest.raises(TaskError, match=r"not `self\.model`"):
            work(Stubborn(model), pool)
    assert state_of(model) == before


def test_a_private_copy_is_the_model_in_evaluation_mode() -> None:
    model = watched_model()
    copied = private_copy(model, CPU)
    assert not any(module.training for module in copied.modules())
    for (name, weight), (other, own) in zip(
        copied.named_parameters(), model.named_parameters(), strict=True
    ):
        assert name == other
        assert weight is not own
        assert torch.equal(weight, own)
        assert weight.requires_grad == own.requires_grad
        assert weight.grad is None


def test_shared_weights_stay_shared() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    for copied in (private_copy(model, CPU), fresh_copy(model, CPU)):
        assert copied[1].weight is copied[0].weight


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = nn.Linear(2, 2)
    model.cache = model.weight * 2  # a tensor with a history
    with pytest.raises(TaskError, match=r"Linear.*cannot be copied"):
        private_copy(model, CPU)


def test_a_fresh_copy_has_new_trainable_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.MultiheadAttention(4, 2))
    fresh = fresh_copy(model, CPU)
    assert not torch.equal(fresh[0].weight, model[0].weight)
    assert not torch.equal(fresh[2].in_proj_weight, model[2].in_proj_weight)


def test_a_layer_that_cannot_be_reset_is_named_unless_it_is_frozen() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

    model = nn.Sequential(nn.Linear(2, 2), Scale())
    with pytest.raises(TaskError, match=r"'1' \(Scale\).*Subject\(fresh="):
        fresh_copy(model, CPU)
    model[1].requires_grad_(requires_grad=False)
    assert torch.equal(fresh_copy(model, CPU)[1].factor, model[1].factor)


def test_a_fresh_copy_keeps_what_is_frozen_and_begins_statistics_anew() -> None:
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    )
    model[0].weight.requires_grad_(requires_grad=False)
    model[3].requires_grad_(requires_grad=False)
    for layer in model[1:]:
        layer.running_mean.fill_(5.0)
    with torch.no_grad():
        model[2].weight.fill_(2.0)
    fresh = fresh_copy(model, CPU)
    assert torch.equal(fresh[0].weight, model[0].weight)
    assert not torch.equal(fresh[0].bias, model[0].bias)
    assert [float(layer.running_mean[0]) for layer in fresh[1:]] == [0, 0, 5]
    assert torch.equal(fresh[2].weight, torch.ones(4))


class Adapted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(3, 3).requires_grad_(requires_grad=False)
        self.lora_A, self.lora_B = nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False)


class OtherwiseAdapted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lora_up = nn.Linear(3, 2, bias=False)


def test_an_adapter_begins_as_no_change() -> None:
    model = Adapted()
    fresh = fresh_copy(model, CPU)
    assert torch.equal(fresh.base.weight, model.base.weight)
    assert fresh.lora_A.weight.abs().min() > 0
    assert not torch.equal(fresh.lora_A.weight, model.lora_A.weight)
    assert not fresh.lora_B.weight.any()
    assert model.lora_B.weight.any()
    model.lora_B.requires_grad_(requires_grad=False)
    assert torch.equal(fresh_copy(model, CPU).lora_B.weight, model.lora_B.weight)


def test_adapters_of_peft_begin_as_peft_begins_them() -> None:
    peft = pytest.importorskip("peft")

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = nn.Embedding(5, 4), nn.Linear(4, 4)
            self.head = nn.Linear(4, 3)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.head(self.mix(self.embed(tokens)))

    settings = peft.LoraConfig(r=2, target_modules=["embed", "mix"])
    model = peft.get_peft_model(Small(), settings)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.fill_(0.5)  # trained
    tokens = torch.arange(5)
    fresh = fresh_copy(model, CPU)
    without = copy.deepcopy(model).unload()
    assert not torch.allclose(model(tokens), without(tokens))
    assert torch.allclose(fresh(tokens), without(tokens))
    weights = [weight for weight in fresh.parameters() if weight.requires_grad]
    assert len(weights) == 4
    assert sum(bool(weight.any()) for weight in weights) == 2
    assert not any(bool((weight == 0.5).any()) for weight in weights)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.utils.weight_norm(nn.Linear(3, 3)), "no `reset_parameters` initializes"),
        (lambda: nn.utils.spectral_norm(nn.Linear(3, 3)), "no `reset_parameters` initializes"),
        (OtherwiseAdapted, "'lora_up' .* is an adapter"),
    ],
)
def test_weights_that_would_not_begin_anew_are_refused(
    make: Callable[[], nn.Module], told: str
) -> None:
    model = make().eval()
    if not isinstance(model, OtherwiseAdapted):
        with torch.no_grad():
            model(torch.zeros(2, 3))
    with pytest.raises(TaskError, match=rf"{told}.*Subject\(fresh="):
        fresh_copy(model, CPU)


def test_a_blend_moves_what_is_trained_toward_the_other_weights() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(requires_grad=False)
    weight, bias = model.weight.clone(), model.bias.clone()
    other = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    blend(model, other, keep=0.25)
    assert torch.allclose(model.weight, 0.25 * weight + 0.75)
    assert torch.equal(model.bias, bias)


@pytest.mark.parametrize(
    ("other", "told"),
    [({}, "missing"), ({"weight": torch.ones(1, 2), "bias": torch.ones(2)}, r"of shape \(1, 2\)")],
)
def test_weights_of_another_model_are_no_blend(other: dict[str, Tensor], told: str) -> None:
    with pytest.raises(TaskError, match=rf"'weight' has shape \(2, 2\).*{told}"):
        blend(nn.Linear(2, 2), other, keep=0.5)
