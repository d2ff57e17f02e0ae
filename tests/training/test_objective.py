"""Laws of the SSIM term of the generator's loss."""

import pytest
import torch

from dexsearch.config.trial import trial_config
from dexsearch.training.metrics import ssim_map
from dexsearch.training.networks import Networks, dissimilarity

CPU = torch.device("cpu")


def images(seed: int, size_px: int = 12) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(2, 2, size_px, size_px, generator=rng, dtype=torch.float64)


def test_nothing_is_lost_and_nothing_pulls_at_the_truth() -> None:
    truth = images(0)
    prediction = truth.clone().requires_grad_()
    loss = dissimilarity(prediction, truth)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    assert float(gradient.abs().max()) < 1e-12


def test_the_gradient_is_that_of_finite_differences() -> None:
    truth = images(0)
    prediction = (truth + 0.2 * images(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: dissimilarity(p, truth), prediction, atol=1e-6)


def test_it_is_one_minus_the_mean_of_the_scored_map() -> None:
    prediction, truth = images(1), images(0)
    expected = 1 - ssim_map(prediction, truth, data_range=1.0).mean()
    assert torch.equal(dissimilarity(prediction, truth), expected)
    assert 0 < float(expected) < 2


def test_following_the_gradient_makes_images_more_alike() -> None:
    truth, prediction = images(0, 24), images(1, 24).requires_grad_()
    before = float(dissimilarity(prediction, truth).detach())
    for _ in range(20):
        (gradient,) = torch.autograd.grad(dissimilarity(prediction, truth), prediction)
        prediction = (prediction - 20 * gradient).detach().requires_grad_()
    assert float(dissimilarity(prediction, truth).detach()) < 0.8 * before


def test_the_step_adds_the_weighted_term_to_what_the_generator_minimises() -> None:
    losses = []
    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    y = torch.rand(4, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    for weight in (0.0, 7.0):
        values = {"generator.depth": 2, "generator.width": 4, "loss.ssim_weight": weight}
        networks = Networks(trial_config(values | {"loss.adversarial": "none"}), device=CPU)
        with torch.no_grad(), networks.precision.autocast():
            lost = float(dissimilarity(networks.generator(x), y))
        losses.append(float(networks.train_step(x, y)[1]))
    assert losses[1] == pytest.approx(losses[0] + 7 * lost, rel=1e-4)


def test_half_precision_is_compared_in_float32() -> None:
    truth = images(0).float()
    half = (truth + 0.1).bfloat16()
    assert torch.equal(dissimilarity(half, truth), dissimilarity(half.float(), truth))
