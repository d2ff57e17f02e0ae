"""A generator as one network that needs no dexsearch: image in, images in physical units out.

Inside    normalisation of the input, U-Net, head (also the tissue that `derive` computes).
Outside   padding: what comes in has a height and width that are multiples of `multiple_px`, at
          least two each. Where the predictor pads, it normalises first, so an image of another
          size that is padded by hand equals its prediction only under `absolute` normalisation.
Safety    a pt2 file holds a graph, weights and an example of noise: tensors, no code of ours.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dexsearch.inference.package import Package
from dexsearch.inference.predict import Predictor, load_predictor

LARGEST_MULTIPLE = 4096
"""Of `multiple_px`, in both directions: a bound that the export needs, far beyond any detector."""
FACTS = "dexsearch.json"
"""Name of the extra file in a pt2 that says what the network is."""


@final
class ExportableGenerator(nn.Module):
    """The steps of `Predictor.predict_batch` without padding, in float32 on the CPU."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        # The predictor's channels-last weights are for speed; files want plain memory.
        self.generator = predictor.generator
        for weights in self.generator.parameters():
            weights.data = weights.data.contiguous()
        self._normalization = predictor.normalization
        self._head = predictor.head

    def forward(self, image: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
        """Predict all targets, in their order and units.

        Args:
            image: in the unit of the training inputs; height and width as in the module's text.
        """
        output = self.generator(self._normalization.normalize_input(image))
        return self._head.images(output, image)


def multiple_px(package: Package) -> int:
    """Return what height and width of an image have to be multiples of: `2 ** depth`."""
    depth = int(package.card.trial_config["generator"]["depth"])
    return 1 << depth


def exportable(package: Package) -> nn.Module:
    """Return the generator of an opened package as one network, in evaluation mode.

    Raises:
        DataError: if weights and configuration do not belong together.
    """
    return ExportableGenerator(load_predictor(package)).eval()


def example_images(package: Package) -> Float[Tensor, "2 1 H W"]:
    """Return noise of the training inputs' mean and spread: two images, higher than wide.

    Never a radiograph: exported files carry their example. Sizes that differ keep the exporter
    from taking one of them for fixed.
    """
    step = multiple_px(package)
    noise = torch.randn(2, 1, 3 * step, 2 * step, generator=torch.Generator().manual_seed(0))
    known = package.card.normalization
    return noise * float(known["std"]) + float(known["mean"])


def export_program(package: Package) -> torch.export.ExportedProgram:
    """Trace the network with any batch size, height and width (multiples of `multiple_px`).

    Raises:
        DataError: if weights and configuration do not belong together.
    """
    step = multiple_px(package)
    height, width = (
        step * torch.export.Dim(name, min=2, max=LARGEST_MULTIPLE) for name in ("h", "w")
    )
    shapes = {"image": {0: torch.export.Dim("batch", min=1), 2: height, 3: width}}
    with torch.no_grad():
        program = torch.export.export(
            exportable(package), (example_images(package),), dynamic_shapes=shapes
        )
    for node in program.graph.nodes:  # traces name folders of this machine
        node.meta.pop("stack_trace", None)
    return program


def export_pt2(package: Package, path: Path, facts: Mapping[str, str] | None = None) -> None:
    """Write the network for `torch.export.load(path).module()`, which needs no dexsearch.

    Equal packages give equal bytes under equal versions of torch.

    Args:
        package: the generator.
        path: file to write.
        facts: are kept in the file beside the network, as `FACTS`.

    Raises:
        DataError: if weights and configuration do not belong together.
        OSError: if the file cannot be written.
    """
    content = io.BytesIO()  # where torch itself meets a full disk, it ends the process
    extra = None if facts is None else {FACTS: json.dumps(dict(facts), indent=2)}
    torch.export.save(export_program(package), content, extra_files=extra)
    path.write_bytes(content.getbuffer())
