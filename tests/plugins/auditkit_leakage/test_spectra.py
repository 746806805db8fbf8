from __future__ import annotations

import numpy as np
import numpy.typing as npt
from auditkit_leakage import spectra
from auditkit_leakage.resampling import background, grey, to_planes

Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def test_magnitudes_are_those_of_fourier_transforms() -> None:
    image = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    full = np.abs(np.fft.fft2(image[0], (32, 32)))
    part = np.arange(16)
    mixed = (full[np.ix_(part, part)] + full[np.ix_(part, -part)]) / 2
    expected = np.sqrt(mixed).reshape(-1)[1:]
    np.testing.assert_allclose(
        spectra.magnitudes(image)[0], expected / np.linalg.norm(expected), rtol=1e-4
    )


def test_magnitudes_see_no_shift_flip_or_contrast() -> None:
    image = np.zeros((1, 20, 20), dtype=np.float32)
    image[0, 5:14, 4:12] = np.random.default_rng(1).normal(size=(9, 8))
    base = spectra.magnitudes(image)
    for other in (np.roll(image, (3, -2), axis=(1, 2)), image[:, :, ::-1], image * 1.7):
        np.testing.assert_allclose(spectra.magnitudes(other), base, atol=1e-5)


def test_candidates_hold_the_originals_of_crops(fashion_mnist: Images) -> None:
    train = to_planes(fashion_mnist[0][:2_500], 28)
    known = grey(train, background(train))
    random = np.random.default_rng(2)
    for size in (1.0, 0.88):
        places = random.permutation(2_500)[:50]
        views = spectra.altered(known[places], size, random)
        offered = np.concatenate(
            [found for found, _ in spectra.candidates(known, views, count=60)], axis=1
        )
        assert (offered == places[:, None]).any(axis=1).mean() >= 0.94


def test_an_empty_image_has_finite_magnitudes() -> None:
    assert np.isfinite(spectra.magnitudes(np.zeros((2, 8, 8), dtype=np.float32))).all()
