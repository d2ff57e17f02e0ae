"""How long a generator takes for one image, as it predicts: in evaluation mode, in float32."""

import statistics
import time

import torch

from dexsearch.config.trial import TrialConfig
from dexsearch.models.generator import build_generator
from dexsearch.models.layout import channels_last, weights_channels_last
from dexsearch.models.padding import padded_size_px

_N_WARMUP = 3
_N_TIMED = 15


def latency_ms(config: TrialConfig, size_px: tuple[int, int], device: torch.device) -> float:
    """Return the median time of a forward pass of one image in milliseconds.

    The weights do not matter, so fresh ones are timed; the first passes, in which memory is
    taken and kernels are chosen, are not.

    Args:
        config: of the generator.
        size_px: height and width of the image before padding.
        device: where the network runs.
    """
    with torch.random.fork_rng(devices=[]):  # layers draw weights before they get ours
        generator = build_generator(config.generator, n_targets=len(config.task.predicted))
    generator = generator.to(device).eval()
    weights_channels_last(generator)
    height, width = padded_size_px(size_px, depth=config.generator.depth)
    image = channels_last(torch.zeros(1, 1, height, width, device=device))
    times = []
    with torch.inference_mode():
        for _ in range(_N_WARMUP + _N_TIMED):
            begin = time.perf_counter()
            generator(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times[_N_WARMUP:])
