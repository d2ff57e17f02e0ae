"""Laws of the way into and out of a generator."""

import json

import pytest
import torch

from dexsearch.training.normalization import Normalization


def test_absolute_uses_the_datasets_constants() -> None:
    normalization = Normalization("absolute", 2.0, 0.5, (1.0,))
    image = torch.tensor([[[[2.0, 2.5]]]])
    assert normalization.normalize_input(image).flatten().tolist() == [0.0, 1.0]


def test_per_image_does_not_depend_on_exposure_or_on_its_neighbours() -> None:
    normalization = Normalization("per_image", 2.0, 0.5, (1.0,))
    images = torch.randn(3, 1, 16, 16)
    one = normalization.normalize_input(images)
    torch.testing.assert_close(one, normalization.normalize_input(5 * images + 7))
    torch.testing.assert_close(one[1:2], normalization.normalize_input(images[1:2]))
    torch.testing.assert_close(one.mean(dim=(-2, -1)), torch.zeros(3, 1), atol=1e-5, rtol=0)


def test_a_constant_image_stays_finite() -> None:
    normalization = Normalization("per_image", 2.0, 0.5, (1.0,))
    assert bool(normalization.normalize_input(torch.ones(1, 1, 4, 4)).isfinite().all())


def test_targets_come_back() -> None:
    normalization = Normalization("absolute", 2.0, 0.5, (2.0, 20.0))
    target = torch.rand(2, 2, 4, 4)
    inside = normalization.from_physical(target)
    torch.testing.assert_close(normalization.to_physical(inside), target)
    torch.testing.assert_close(inside[:, 1], target[:, 1] / 20)


def test_it_survives_json() -> None:
    normalization = Normalization("per_image", 0.1, 1 / 3, (0.7, 20.0))
    text = json.dumps(normalization.as_dict())
    assert Normalization.from_dict(json.loads(text)) == normalization


def test_constants_that_divide_by_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"std=0.0"):
        Normalization("absolute", 1.0, 0.0, (1.0,))
    with pytest.raises(ValueError, match="must be above 0"):
        Normalization("absolute", 1.0, 1.0, (1.0, float("nan")))
