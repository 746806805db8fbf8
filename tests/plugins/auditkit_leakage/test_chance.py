from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_leakage.chance import compressed_bits, is_poor, more_than_chance, row_bits


def test_noise_holds_its_own_bits_and_emptiness_none() -> None:
    noise = np.random.default_rng(0).bytes(784)
    bits = compressed_bits([b"", bytes(784), noise])
    assert bits[0] == 0
    assert bits[1] < 200
    assert bits[2] == pytest.approx(8 * 784, rel=0.05)


def test_a_rows_bits_are_half_those_of_its_cells() -> None:
    train = pl.DataFrame({"few": ["a", "b"] * 8, "many": range(16)})
    copied = pl.concat([train, train[:4]])
    bits = row_bits(pl.DataFrame({"few": ["a", "new"], "many": [3, 99]}), copied)
    even, rare = np.log2(15 / 7), np.log2(15 * 16)
    assert bits.tolist() == pytest.approx([(even + rare) / 2, (np.log2(15) + rare) / 2])


def test_rows_of_measured_numbers_are_rich_and_rows_of_few_categories_poor() -> None:
    random = np.random.default_rng(0)
    numbers = pl.DataFrame(random.normal(size=(300, 5)).round(4))
    categories = pl.DataFrame(random.integers(0, 4, (300, 5)))
    sizes = {"train": 300, "evaluation": 100}
    assert not is_poor(row_bits(numbers, numbers), **sizes).any()
    assert is_poor(row_bits(categories, categories), **sizes).all()


def test_poor_is_what_may_coincide_among_all_pairs() -> None:
    bits = np.array([10.0, 29.0, 31.0, 500.0])
    assert is_poor(bits, train=1_024, evaluation=1_024).tolist() == [True, True, False, False]


def test_coincidences_as_frequent_as_in_the_train_pool_are_no_leaks() -> None:
    poor = np.ones(10, dtype=bool)
    half = np.arange(10) < 5
    most = np.arange(10) < 8
    assert more_than_chance(train_poor=poor, train_twin=half, poor=poor, identical=half) == 0
    more = more_than_chance(train_poor=poor, train_twin=half, poor=poor, identical=most)
    assert more == pytest.approx(1 - 0.5 / 0.8)
    none = np.zeros(10, dtype=bool)
    assert more_than_chance(train_poor=poor, train_twin=none, poor=poor, identical=half) == 1
    assert more_than_chance(train_poor=none, train_twin=half, poor=none, identical=half) == 1
