"""A generator as ONNX, checked with onnxruntime; both are optional.

The file has one input `image` (batch, 1, height, width) and one output `targets` (batch, targets,
height, width), float32, all weights inside, and says in its metadata what it is.
"""

import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dexsearch.errors import EnvironmentFault
from dexsearch.inference.exportable import export_program
from dexsearch.inference.package import Package

INPUT, OUTPUT = "image", "targets"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
AXES = ("batch", None, "height", "width")
"""What the free sizes are called; the exporter itself calls them s40 and 8*s39."""


def refuse_without_onnx() -> None:
    """Say how to install what is missing, before any work.

    Raises:
        EnvironmentFault: if onnx, onnxscript or onnxruntime is not installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise EnvironmentFault(
            f"ONNX needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not installed",
            hint="pip install 'dexsearch[onnx]'; pt2 and safetensors need nothing more",
        )


def export_onnx(package: Package, path: Path, facts: Mapping[str, str]) -> None:
    """Write the network as one ONNX file.

    Args:
        package: the generator.
        path: file to write.
        facts: become the model's metadata.

    Raises:
        DataError: if weights and configuration do not belong together.
        EnvironmentFault: if ONNX is not installed.
    """
    refuse_without_onnx()
    import onnx  # noqa: PLC0415  (optional)

    with _quiet():
        program = torch.onnx.export(
            export_program(package), dynamo=True, verbose=False, input_names=[INPUT],
            output_names=[OUTPUT],
        )  # fmt: skip
    if program is None:
        raise EnvironmentFault("torch returned no ONNX program; see torch.onnx")
    model: Any = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, AXES, strict=True):
            if name is not None:
                axis.dim_param = name
    del model.graph.value_info[:]  # sizes in between, under the exporter's names
    for node in model.graph.node:
        del node.metadata_props[:]  # traces that name folders of this machine
    model.producer_name, model.doc_string = "dexsearch", facts.get("disclaimer", "")
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


class OnnxNetwork:
    """An ONNX file at work on the CPU, by onnxruntime."""

    def __init__(self, path: Path) -> None:
        refuse_without_onnx()
        import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415  (optional)

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> Tensor:
        """Return one image per target for each image."""
        return torch.from_numpy(self._session.run([OUTPUT], {INPUT: images.numpy()})[0])

    @property
    def facts(self) -> dict[str, str]:
        """What the file says about itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


class _quiet(warnings.catch_warnings):  # noqa: N801  (a context manager in lower case)
    """Keep the exporter's remarks about itself, and about torchvision, from the user."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
