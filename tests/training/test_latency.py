import torch

from dexsearch.config.trial import trial_config
from dexsearch.training.latency import latency_ms


def test_the_latency_is_positive_for_sizes_that_need_padding_and_leaves_the_generator_state() -> (
    None
):
    config = trial_config({"generator.depth": 4, "generator.width": 4})
    before = torch.random.get_rng_state()
    assert latency_ms(config, (33, 47), torch.device("cpu")) > 0
    assert torch.equal(before, torch.random.get_rng_state()), "training would go on differently"
