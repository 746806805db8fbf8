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
    train = pl.DataFrame({"even": ["a", "b"] * 8, "rare": ["x"] * 15 + [None]})
    bits = row_bits(pl.DataFrame({"even": ["a", "a", "new"], "rare": ["x", None, "x"]}), train)
    common = -np.log2(15 / 16)
    assert bits.tolist() == pytest.approx([(1 + common) / 2, (1 + 4) / 2, (4 + common) / 2])


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
