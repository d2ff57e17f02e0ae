"""How many parameters a generator has, without building it in memory."""

import torch

from dexsearch.config.trial import TrialConfig
from dexsearch.models.generator import Generator


def n_generator_parameters(config: TrialConfig) -> int:
    """Return the number of trained values of a configuration's generator; a millisecond or so."""
    with torch.device("meta"):
        generator = Generator(config.generator, n_targets=len(config.task.predicted))
    return sum(parameter.numel() for parameter in generator.parameters())
