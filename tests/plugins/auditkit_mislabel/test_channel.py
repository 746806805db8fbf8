from __future__ import annotations

import numpy as np
import pytest
from auditkit_mislabel.channel import (
    Channel,
    anchor_counts,
    doubted,
    fit_channel,
    shrunk,
    surest,
)

from tests.plugins.auditkit_mislabel.conftest import Noisy, make


def nobody(noisy: Noisy) -> np.ndarray:
    return np.zeros(len(noisy.given), dtype=bool)


def test_the_posterior_is_bayes_rule() -> None:
    transition = np.array([[0.9, 0.1], [0.3, 0.7]])
    channel = Channel(transition, scale=1.0, bias=np.zeros(2))
    posterior = np.exp(channel.log_posterior(np.log([[0.4, 0.6]]), np.array([1])))
    joint = np.array([0.4 * 0.1, 0.6 * 0.7])
    np.testing.assert_allclose(posterior[0], joint / joint.sum(), rtol=1e-12)


def test_counts_of_anchors_are_of_the_surest_examples_of_each_predicted_class() -> None:
    certainty = np.linspace(0.51, 0.99, 100)
    logs = np.log(np.stack([certainty, 1 - certainty], axis=1))
    labels = (np.arange(100) >= 80).astype(np.int64)
    counts = anchor_counts(logs, labels)
    np.testing.assert_array_equal(counts, [[0, 20], [0, 0]])


def test_the_surest_are_a_share_of_each_predicted_class_and_at_least_ten() -> None:
    certainty = np.r_[np.linspace(0.51, 0.99, 100), np.full(12, 0.3)]
    logs = np.log(np.stack([certainty, 1 - certainty], axis=1))
    chosen = surest(logs, share=0.5)
    assert set(range(50, 100)) == set(chosen[chosen < 100])
    assert (chosen >= 100).sum() == 10


def test_rows_of_a_transition_are_distributions_without_zeros() -> None:
    counts = np.zeros((4, 4))
    counts[0, 0] = 50
    transition = shrunk(counts)
    np.testing.assert_allclose(transition.sum(axis=1), 1.0)
    assert (transition > 0).all()


def test_scattered_errors_are_shrunk_to_uniform_and_repeated_ones_are_not() -> None:
    random = np.random.default_rng(0)
    scattered = 200 * np.eye(6)
    for k in range(6):
        others = [j for j in range(6) if j != k]
        scattered[k] += np.bincount(random.choice(others, 20), minlength=6)
    off = shrunk(scattered)[~np.eye(6, dtype=bool)].reshape(6, 5)
    assert off.std(axis=1).max() < 0.25 * off.mean()
    repeated = 200 * np.eye(6)
    repeated[np.arange(6), (np.arange(6) + 1) % 6] = 20
    transition = shrunk(repeated)
    assert transition[0, 1] > 10 * transition[0, 2:].max()


@pytest.mark.parametrize("noise", ["uniform_noise", "look_alike_noise"])
def test_the_channel_of_a_calibrated_model_is_found(
    noise: str, request: pytest.FixtureRequest
) -> None:
    noisy: Noisy = request.getfixturevalue(noise)
    channel = fit_channel(noisy.logs, noisy.given, nobody(noisy))
    np.testing.assert_allclose(channel.transition, noisy.transition, atol=0.03)
    assert channel.scale == pytest.approx(1.0, abs=0.15)


def test_a_model_too_sure_or_too_timid_is_rescaled(uniform_noise: Noisy) -> None:
    logs = 0.5 * uniform_noise.logs
    channel = fit_channel(logs, uniform_noise.given, nobody(uniform_noise))
    assert channel.scale == pytest.approx(2.0, rel=0.15)


def test_probabilities_of_being_wrong_are_right_as_often_as_they_say(
    uniform_noise: Noisy,
) -> None:
    channel = fit_channel(uniform_noise.logs, uniform_noise.given, nobody(uniform_noise))
    posterior = np.exp(channel.log_posterior(uniform_noise.logs, uniform_noise.given))
    doubt = 1 - posterior[np.arange(len(posterior)), uniform_noise.given]
    assert doubt.sum() == pytest.approx(uniform_noise.wrong.sum(), rel=0.1)
    for low, high in ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9)):
        near = (doubt >= low) & (doubt <= high)
        assert uniform_noise.wrong[near].mean() == pytest.approx(doubt[near].mean(), abs=0.15)


def test_trusted_labels_teach_the_scale_and_not_the_channel(uniform_noise: Noisy) -> None:
    trusted = np.arange(len(uniform_noise.given)) % 2 == 0
    labels = np.where(trusted, uniform_noise.true, uniform_noise.given)
    channel = fit_channel(uniform_noise.logs, labels, trusted)
    errors = 1 - np.diag(channel.transition)
    np.testing.assert_allclose(errors, 0.1, atol=0.03)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_where_the_classes_overlap_a_models_mistakes_are_not_counted_as_wrong_labels(
    rate: float,
) -> None:
    # An ideal model names the right class of 77 %. Its anchors alone would count a fifth too many,
    # and a hundred wrong labels where there are none.
    transition = np.full((5, 5), rate / 4) + (1 - rate * 5 / 4) * np.eye(5)
    noisy = make(transition, count=3_000, radius=2.0)
    channel = fit_channel(noisy.logs, noisy.given, nobody(noisy))
    counted = doubted(channel, noisy.logs, noisy.given).sum()
    assert counted == pytest.approx(noisy.wrong.sum(), rel=0.12, abs=15)
