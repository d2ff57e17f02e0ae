"""Laws of the moving average."""

import pytest
import torch

from dexsearch.config.trial import GeneratorConfig
from dexsearch.models.generator import build_generator
from dexsearch.training.moving_average import MovingAverage, warmed_up_decay


def test_the_decay_warms_up() -> None:
    assert warmed_up_decay(0.995, 0) == pytest.approx(0.1)
    assert warmed_up_decay(0.995, 8) == pytest.approx(0.5)
    assert warmed_up_decay(0.995, 10_000) == 0.995
    assert warmed_up_decay(0.0, 10_000) == 0.0


def test_weights_and_norm_statistics_are_averaged_by_the_formula() -> None:
    network = build_generator(GeneratorConfig(depth=2, width=2), n_targets=1)
    average = MovingAverage(network, decay=0.9)
    expected = {k: v.clone().double() for k, v in network.state_dict().items()}
    for step in range(1, 30):
        network.train()(torch.randn(2, 1, 8, 8) + step)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    for name, value in average.network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == 29
        else:
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-5)


def test_the_average_is_in_evaluation_mode_and_asks_for_no_gradients() -> None:
    average = MovingAverage(build_generator(GeneratorConfig(), n_targets=1), decay=0.9)
    assert not average.network.training
    assert not any(p.requires_grad for p in average.network.parameters())
