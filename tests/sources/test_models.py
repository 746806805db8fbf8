import pytest
import torch

from auditkit.sources.models import ImageModel, LinearModel, TableModel


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32), (3, 64), (3, 13)])
def test_the_image_model_fits_every_size(channels: int, side: int) -> None:
    model = ImageModel(channels, 10, side=side)
    assert model(torch.rand(2, channels, side, side + 5)).shape == (2, 10)
    assert 80_000 < sum(weight.numel() for weight in model.parameters()) < 110_000


def test_the_vector_models_give_a_score_per_class() -> None:
    assert TableModel(7, 3)(torch.rand(2, 7)).shape == (2, 3)
    assert LinearModel(7, 3)(torch.rand(2, 7)).shape == (2, 3)
