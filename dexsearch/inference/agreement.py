"""Does an exported file answer what the predictor answers? Asked before the file gets its name."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dexsearch.errors import EnvironmentFault
from dexsearch.inference.exportable import multiple_px
from dexsearch.inference.package import Package
from dexsearch.inference.predict import load_predictor

Answer = Callable[[Float[Tensor, "B 1 H W"]], Float[Tensor, "B C H W"]]
SHAPES = ((1, 2, 2), (1, 5, 3), (3, 2, 4), (2, 4, 2))
"""Images; height and width in multiples of what the network takes. None is the example's."""
TOLERANCE = 1e-4
"""Of the largest value: float32, summed in another order through all layers."""


def largest_difference(package: Package, answer: Answer) -> float:
    """Return the largest difference from the predictor, as a fraction of its largest value.

    Args:
        package: the generator.
        answer: asks the exported file.

    Raises:
        EnvironmentFault: if the answers differ by more than arithmetic explains.
    """
    predictor, step = load_predictor(package), multiple_px(package)
    known, rng = predictor.normalization, torch.Generator().manual_seed(1)
    largest = 0.0
    for batch, rows, columns in SHAPES:
        noise = torch.randn(batch, 1, rows * step, columns * step, generator=rng)
        images = known.mean + known.std * noise
        expected, found = predictor.predict_batch(images), answer(images)
        difference = float("inf")
        if found.shape == expected.shape:
            scale = max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
            difference = float((found - expected).abs().max()) / scale
        if not difference <= TOLERANCE:  # NaN too
            raise EnvironmentFault(
                f"the exported network differs from the generator by {difference:.2g} of its "
                f"largest value on {batch} image(s) of {rows * step} x {columns * step} px; at "
                f"most {TOLERANCE:g} is arithmetic",
                hint="another version of torch or of the exporter may do better; nothing was kept",
            )
        largest = max(largest, difference)
    return largest
