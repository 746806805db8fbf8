"""Losses of noise prediction against the schedulers' own, and the draws that stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel
from sklearn.datasets import load_digits
from torch import Tensor, nn

from auditkit import DiffusionTask, ForwardINF, Pool, Recipe
from auditkit.batches import collate, every
from auditkit.engine.curvature import estimate
from auditkit.errors import SettingError, TaskError
from auditkit.tasks.noise import keys_of, normal
from auditkit.training import epochs

if TYPE_CHECKING:
    from auditkit.subject import Batch

CPU = torch.device("cpu")
SCHEDULER = DDPMScheduler(num_train_timesteps=100)


class Denoiser(nn.Module):
    """One convolution, whose strength depends on the timestep and on the class, if there is one."""

    def __init__(self, *, classes: int = 0, variance: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(1, 2 if variance else 1, 3, padding=1)
        self.shift = nn.Embedding(max(classes, 1), 1)

    def forward(self, noisy: Tensor, times: Tensor, label: Tensor | None = None) -> Tensor:
        found: Tensor = self.mix(noisy) * (1 + times.view(-1, 1, 1, 1) / 100)
        return found if label is None else found + self.shift(label)[:, :, None, None]


class Unconditional(nn.Module):
    """One convolution and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.mix = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy: Tensor, times: Tensor) -> Tensor:
        found: Tensor = self.mix(noisy) * (1 + times.view(-1, 1, 1, 1) / 100)
        return found


def images(count: int = 6) -> Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


def batch_of(task: DiffusionTask, pool: Pool) -> Batch:
    return collate(task.prepared(pool, device=CPU), every(pool), device=CPU)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_the_mean_over_draws_of_what_the_scheduler_says(prediction: str) -> None:
    scheduler = DDPMScheduler(num_train_timesteps=100, prediction_type=prediction)
    model = Unconditional()
    task = DiffusionTask(model, scheduler, timesteps=4, noises=2, shared=False)
    pool = Pool.from_arrays(images())
    found = task.loss(model, batch_of(task, pool))
    keys = keys_of(pool.ids, seed=0)
    expected = torch.zeros(len(pool), dtype=torch.float64)
    for draw in range(8):
        times = torch.full((len(pool),), [12, 37, 62, 87][draw // 2])
        noise = normal(keys, torch.full((len(pool),), draw), (1, 6, 6))
        target = {
            "epsilon": noise,
            "v_prediction": scheduler.get_velocity(images(), noise, times),
            "sample": images(),
        }[prediction]
        guess = model(scheduler.add_noise(images(), noise, times), times)
        expected += (guess - target).double().square().mean(dim=(1, 2, 3)).detach() / 8
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_outputs_are_what_the_loss_is_made_of() -> None:
    task, pool = DiffusionTask(Denoiser(), SCHEDULER, timesteps=5), Pool.from_arrays(images())
    batch = batch_of(task, pool)
    found, targets = task.outputs(task.model, batch)
    assert found.shape == targets.shape == (6, 5 * 36)
    errors = (found - targets).double().square().mean(dim=1)
    torch.testing.assert_close(errors, task.loss(task.model, batch), rtol=1e-6, atol=1e-8)
    norms = found.double().square().mean(dim=1)
    torch.testing.assert_close(task.squared_norm(task.model, batch), norms, rtol=1e-6, atol=1e-8)


def test_one_draw_at_a_time_gives_the_mean_over_all() -> None:
    task, pool = DiffusionTask(Denoiser(), SCHEDULER, timesteps=3), Pool.from_arrays(images())
    batch = batch_of(task, pool)
    each = [task.loss(task.model, task.one_draw(batch, draw)) for draw in range(3)]
    torch.testing.assert_close(torch.stack(each).mean(dim=0), task.loss(task.model, batch))
    several = task.loss(task.model, task.one_draw(batch, torch.tensor([0, 1, 2, 3, 4, 5])))
    torch.testing.assert_close(several, torch.stack([each[i % 3][i] for i in range(6)]))


def test_losses_do_not_depend_on_the_batch() -> None:
    task, pool = DiffusionTask(Denoiser(), SCHEDULER), Pool.from_arrays(images())
    together = task.loss(task.model, batch_of(task, pool))
    prepared = task.prepared(pool, device=CPU)
    alone = [
        task.loss(task.model, collate(prepared, np.array([place]), device=CPU))
        for place in range(6)
    ]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-6, atol=1e-9)
    turned = prepared.subset([5, 0, 3])
    torch.testing.assert_close(
        task.loss(task.model, collate(turned, every(turned), device=CPU)), together[[5, 0, 3]]
    )


def test_queries_have_other_noises_than_training_images_of_their_ids() -> None:
    task = DiffusionTask(Denoiser(), SCHEDULER, timesteps=2, shared=False)
    pool = Pool.from_arrays(images())
    asked = task.prepared(pool, device=CPU, asked=True)
    assert asked.ids == pool.ids
    here, there = (
        task.loss(task.model, collate(one, every(one), device=CPU))
        for one in (asked, task.prepared(pool, device=CPU))
    )
    assert bool(((here - there).abs() > 1e-6).all())


def test_an_image_is_no_proponent_for_the_sake_of_its_name() -> None:
    random = torch.Generator().manual_seed(5)
    train = Pool.from_arrays(torch.rand(40, 1, 6, 6, generator=random) * 2 - 1)
    queries = Pool.from_arrays(torch.rand(40, 1, 6, 6, generator=random) * 2 - 1)
    task = DiffusionTask(Unconditional(), SCHEDULER, timesteps=2, shared=False)
    engine = ForwardINF(task, train=train, preconditioner="none", rise=0.5)
    ranks = (-engine.influence(queries).values).argsort(axis=1).argsort(axis=1)
    assert 14 < ranks.diagonal().mean() < 25  # 19.5, give or take two and a half standard errors


def test_gradients_per_example_can_be_mapped_over() -> None:
    task, pool = DiffusionTask(Denoiser(), SCHEDULER, timesteps=4), Pool.from_arrays(images())
    batch = batch_of(task, pool)
    assert isinstance(batch, tuple)
    mapped = torch.func.vmap(lambda *one: task.loss(task.model, tuple(p[None] for p in one))[0])
    torch.testing.assert_close(mapped(*batch), task.loss(task.model, batch), rtol=1e-6, atol=1e-9)


def test_other_seeds_draw_other_noises_and_leave_the_first_task_alone() -> None:
    task, pool = DiffusionTask(Denoiser(), SCHEDULER, timesteps=4), Pool.from_arrays(images())
    before = task.loss(task.model, batch_of(task, pool))
    other = task.with_draws(seed=1, timesteps=8)
    assert (other.draws, task.draws, other.seed) == (8, 4, 1)
    assert not torch.allclose(other.loss(task.model, batch_of(other, pool)), before, rtol=1e-3)
    assert torch.equal(task.loss(task.model, batch_of(task, pool)), before)


def test_noises_are_shared_by_all_images_or_are_each_ones_own() -> None:
    same = Pool.from_arrays(images(1).expand(4, -1, -1, -1))
    found = []
    for shared in (True, False):
        task = DiffusionTask(Denoiser(), SCHEDULER, timesteps=4, shared=shared)
        found.append(task.loss(task.model, batch_of(task, same)))
        assert task.with_draws(seed=1).shared is shared
    assert len(found[0].unique()) == 1
    assert len(found[1].unique()) == 4


def test_more_draws_come_nearer_to_the_expectation() -> None:
    pool, model = Pool.from_arrays(images(1)), Unconditional()

    def spread(timesteps: int) -> float:
        tasks = [DiffusionTask(model, SCHEDULER, timesteps=timesteps, seed=s) for s in range(20)]
        losses = [one.loss(model, batch_of(one, pool)) for one in tasks]
        return float(torch.stack(losses).detach().std())

    assert spread(64) < spread(4) / 2


def test_a_training_batch_gets_one_random_pair_per_image() -> None:
    model = Unconditional()
    task = DiffusionTask(model, SCHEDULER)
    torch.manual_seed(0)
    one, other = task.loss(model, images()), task.loss(model, images())
    assert one.shape == (6,)
    assert not torch.allclose(one, other)
    torch.manual_seed(0)
    assert torch.equal(task.loss(model, images()), one)
    torch.manual_seed(0)
    times = torch.randint(100, (6,))
    noise = torch.randn(6, 1, 6, 6)
    expected = (model(SCHEDULER.add_noise(images(), noise, times), times) - noise).square()
    torch.testing.assert_close(one.float(), expected.mean(dim=(1, 2, 3)))


def test_a_class_bears_on_a_model_that_takes_one_and_only_on_that() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    with_class = Pool.from_arrays(images(), labels)
    without = Pool.from_arrays(images())
    model = Denoiser(classes=3)
    task = DiffusionTask(model, SCHEDULER)
    apart = task.loss(model, batch_of(task, with_class)) - task.loss(model, batch_of(task, without))
    assert bool((apart.abs() > 1e-6).all())
    plain = DiffusionTask(Unconditional(), SCHEDULER)
    assert torch.equal(
        plain.loss(plain.model, batch_of(plain, with_class)),
        plain.loss(plain.model, batch_of(plain, without)),
    )


def test_mappings_are_taken_by_their_keys() -> None:
    class Mapped:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, position: int) -> dict[str, Tensor]:
            return {"pixel_values": images()[position], "label": torch.tensor(position)}

    task = DiffusionTask(Denoiser(classes=3), SCHEDULER)
    pairs = Pool.from_arrays(images(3), torch.arange(3))
    expected = task.loss(task.model, batch_of(task, pairs))
    assert torch.equal(task.loss(task.model, batch_of(task, Pool(Mapped()))), expected)


def test_a_predicted_variance_is_left_out() -> None:
    wide, narrow = Denoiser(variance=True), Denoiser()
    narrow.mix.weight = nn.Parameter(wide.mix.weight[:1])
    narrow.mix.bias = nn.Parameter(wide.mix.bias[:1])  # type: ignore[index]  # there is one
    pool = Pool.from_arrays(images())
    tasks = DiffusionTask(wide, SCHEDULER), DiffusionTask(narrow, SCHEDULER)
    one, other = (task.loss(task.model, batch_of(task, pool)) for task in tasks)
    torch.testing.assert_close(one, other)


def test_pools_are_encoded_once() -> None:
    calls = []

    def halved(given: Tensor) -> Tensor:
        calls.append(len(given))
        return given[:, :, ::2, ::2]

    task = DiffusionTask(Unconditional(), SCHEDULER, encoder=halved, timesteps=2)
    pool = Pool.from_arrays(images(20), torch.arange(20))
    engine = ForwardINF(task, train=pool, preconditioner="none", rise=0.5)
    engine.influence(pool.subset([3]))
    engine.influence(pool.subset([4]))
    assert calls == [16, 4, 1, 1]
    plain = DiffusionTask(Unconditional(), SCHEDULER, timesteps=2)
    small = ForwardINF(plain, train=Pool.from_arrays(images(20)[:, :, ::2, ::2]), rise=0.5)
    assert np.allclose(engine.evaluate().loss, small.evaluate().loss)


def test_an_autoencoder_of_diffusers_gives_the_scaled_mean() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=1, block_out_channels=(8,),
        norm_num_groups=4, scaling_factor=0.5, shift_factor=0.25,
    )  # fmt: skip
    task = DiffusionTask(Unconditional(), SCHEDULER, encoder=vae)
    prepared = task.prepared(Pool.from_arrays(images()), device=CPU)
    latents, condition, _ = collate(prepared, every(prepared), device=CPU)  # type: ignore[misc]
    expected = (vae.encode(images()).latent_dist.mean - 0.25) * 0.5
    torch.testing.assert_close(latents, expected.detach())
    assert condition.shape == (6, 0)


def test_an_autoencoder_may_have_a_mean_and_a_spread_per_channel() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=1, block_out_channels=(8,),
        norm_num_groups=4, scaling_factor=0.5, latents_mean=[-1.5], latents_std=[8.0],
    )  # fmt: skip
    task = DiffusionTask(Unconditional(), SCHEDULER, encoder=vae)
    prepared = task.prepared(Pool.from_arrays(images()), device=CPU)
    latents = collate(prepared, every(prepared), device=CPU)[0]  # type: ignore[index]
    expected = (vae.encode(images()).latent_dist.mean + 1.5) * 0.5 / 8
    torch.testing.assert_close(latents, expected.detach())


def test_each_draw_has_its_own_prefix_where_only_later_layers_move() -> None:
    torch.manual_seed(0)
    model = TwoLayers()
    task = DiffusionTask(model, SCHEDULER, timesteps=4)
    pool = Pool.from_arrays(images(12))
    alone, together = (
        ForwardINF(
            task, train=pool, parameters="last.*", preconditioner="none", rise=0.5, batch_size=size
        )
        .influence(pool.subset([0, 5]))
        .values
        for size in (1, 12)
    )
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())


class TwoLayers(nn.Module):
    """The first of which need not move."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, noisy: Tensor, times: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(noisy)) * (1 + times.view(-1, 1, 1, 1) / 100)
        found: Tensor = self.last(hidden)
        return found


def test_scores_do_not_depend_on_batches_order_or_subsets() -> None:
    pool = Pool.from_arrays(images(24), ids=[f"image {place}" for place in range(24)])
    task = DiffusionTask(Unconditional(), SCHEDULER, timesteps=4)
    queries = pool.subset([2, 7])

    def scores(train: Pool, size: int, scored: Pool | None = None) -> dict[str, float]:
        engine = ForwardINF(
            task, train=train, preconditioner="none", rise=0.5, batch_size=size, warn=pytest.fail
        )
        found = engine.influence(queries, scored)
        return dict(zip(found.train_ids, found.values[1], strict=True))

    whole = scores(pool, 24)
    turned = scores(pool.subset(np.arange(24)[::-1].copy()), 7)
    alone = scores(pool, 1)
    part = scores(pool, 24, pool.subset([3, 20]))
    assert turned == pytest.approx(whole, rel=1e-3)
    assert alone == pytest.approx(whole, rel=1e-3)
    assert part == pytest.approx({name: whole[name] for name in part}, rel=1e-3)


def test_engines_share_curvature_between_noises_but_not_between_models() -> None:
    pool = Pool.from_arrays(images(12))
    task = DiffusionTask(Unconditional(), SCHEDULER, timesteps=4)
    engine = ForwardINF(task, train=pool, rise=0.5)
    first = engine.influence(pool.subset([0]))
    other = engine.configured(rise=0.5, task=task.with_draws(seed=5)).influence(pool.subset([0]))
    assert not np.allclose(first.values, other.values)
    again = engine.configured(rise=0.5).influence(pool.subset([0]))
    assert np.array_equal(first.values, again.values)
    with pytest.raises(SettingError, match="another model than the engine's"):
        engine.configured(task=DiffusionTask(Unconditional(), SCHEDULER))


def test_the_diagonal_is_that_of_the_gauss_newton_matrix() -> None:
    pool = Pool.from_arrays(images(600))
    task = DiffusionTask(Unconditional(), SCHEDULER, timesteps=3)
    prepared = task.prepared(pool, device=CPU)
    found = estimate("diagonal", task, task.model.eval(), prepared, device=CPU).diagonal
    batch = batch_of(task, pool.subset(range(60)))

    def outputs(weight: Tensor, bias: Tensor) -> Tensor:
        weights = {"mix.weight": weight, "mix.bias": bias}
        given: Tensor = torch.func.functional_call(
            _Outputs(task), {f"model.{name}": own for name, own in weights.items()}, (batch,)
        )
        return given

    own = dict(task.model.named_parameters())
    jacobians = torch.func.jacrev(outputs, argnums=(0, 1))(own["mix.weight"], own["mix.bias"])
    for name, jacobian in zip(own, jacobians, strict=True):
        exact = 2 * jacobian.square().mean(dim=(0, 1))
        torch.testing.assert_close(found[name], exact.detach(), rtol=0.25, atol=0)


class _Outputs(nn.Module):
    def __init__(self, task: DiffusionTask) -> None:
        super().__init__()
        self.task, self.model = task, task.model

    def forward(self, batch: Batch) -> Tensor:
        return self.task.outputs(self.model, batch)[0]


def test_planted_copies_are_found_in_a_unet() -> None:
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
        block_out_channels=(8, 16), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
    )  # fmt: skip
    train = torch.tensor(load_digits().images[:40, None] / 8 - 1, dtype=torch.float32)
    pool = Pool.from_arrays(train)
    task = DiffusionTask(model, SCHEDULER, timesteps=8)
    for _ in epochs(model, task, pool, Recipe(learning_rate=3e-3, batch_size=20), count=60):
        pass
    model.eval()
    asked = Pool.from_arrays(train[[5, 17]] + 0.05, ids=["five", "seventeen"])
    for kind in ("auto", "diagonal"):
        engine = ForwardINF(task, train=pool, preconditioner=kind, rise=0.5)
        scores = engine.influence(asked)
        assert [scores.proponents(name, 1)[0].train_id for name in scores.query_ids] == ["5", "17"]
        assert str(engine.preconditioner).startswith("kfac" if kind == "auto" else kind)
    squared = engine.configured(
        measure="squared-norm", train_measure="squared-norm", rise=0.5
    ).influence(asked)
    assert squared.measure == "squared-norm"
    features = engine.features(asked)
    assert features.shape == (2, 16)
    assert not np.allclose(features[0], features[1])


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler with no alphas_cump"),
        (object(), "one that predicts noise"),
        (torch.tensor([0.5, 1.5]), "numbers outside 0 to 1"),
        (torch.ones(2, 2), r"shape \(2, 2\)"),
    ],
)
def test_a_scheduler_without_noise_prediction_is_refused(scheduler: object, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        DiffusionTask(Unconditional(), scheduler)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pool.from_arrays(torch.zeros(2, 1, 6, 6, dtype=torch.uint8)), "uint8"),
        (lambda: Pool.from_arrays(torch.zeros(2, 36)), r"shape \(2, 36\)"),
        (lambda: Pool(["a", "b"]), "got a str"),
        (lambda: Pool([(image, 0, place) for place, image in enumerate(images())]), "got a tuple"),
    ],
)
def test_what_is_no_image_is_refused(make: Callable[[], Pool], message: str) -> None:
    task = DiffusionTask(Unconditional(), SCHEDULER)
    with pytest.raises(TaskError, match=message):
        batch_of(task, make())


def test_settings_and_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingError, match="timesteps is 101 and the schedule has 100"):
        DiffusionTask(Unconditional(), SCHEDULER, timesteps=101)
    with pytest.raises(SettingError, match="noises is 0"):
        DiffusionTask(Unconditional(), SCHEDULER, noises=0)
    unet = UNet2DModel(
        in_channels=1, out_channels=1, block_out_channels=(8,), layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), norm_num_groups=4,
        num_class_embeds=2,
    )  # fmt: skip
    task = DiffusionTask(unet, SCHEDULER)
    with pytest.raises(TaskError, match="takes a condition and the examples have none"):
        batch_of(task, Pool.from_arrays(images()))
    smaller = DiffusionTask(nn.MaxPool2d(2), SCHEDULER)
    smaller.model.forward = lambda noisy, _times: nn.functional.max_pool2d(noisy, 2)
    with pytest.raises(TaskError, match=r"shape \(6, 1, 3, 3\) for images of shape \(6, 1, 6, 6\)"):
        smaller.loss(smaller.model, batch_of(smaller, Pool.from_arrays(images())))
    with pytest.raises(SettingError, match="has 'loss' and 'squared-norm'"):
        ForwardINF(task, train=Pool.from_arrays(images()), measure="margin")
