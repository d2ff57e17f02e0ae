"""The MLflow model folder of a package: the generator for people without dexsearch.

    mlflow/MLmodel                        signature, and how MLflow loads it
           data/model.pt2                 graph and weights (inference/exportable.py)
           requirements.txt, conda.yaml, python_env.yaml

It is what `mlflow.pytorch.save_model(..., serialization_format="pt2")` writes, from MLflow's own
pieces, because that function notes the time and a random identity, so that no generator could be
packed twice alike; keeps traces that name folders of this machine; stores its example three
times; and lets a machine with a GPU refuse the graph, which stays on the CPU.
"""

import platform
import warnings
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from dexsearch.inference.exportable import export_pt2, multiple_px
from dexsearch.inference.model_card import DISCLAIMER
from dexsearch.inference.package import MLFLOW, Package
from dexsearch.registry.tracking import make_safe

DATA, GRAPH, DESCRIPTION = "data", "model.pt2", "MLmodel"
_REQUIRED = ("mlflow", "torch", "numpy")
_WITHOUT_TIME = "1980-01-01 00:00:00"
"""What stands where MLflow notes when a model was made: the registry knows that."""


def write_served_model(package: Package) -> Path:
    """Write `mlflow/` into the folder of a package that is being made; return it.

    Args:
        package: its weights are read; its manifest need not be there yet.

    Raises:
        DataError: if weights and configuration do not belong together.
        OSError: if the disk is full.
    """
    make_safe()
    folder = package.path / MLFLOW
    (folder / DATA).mkdir(parents=True)
    export_pt2(package, folder / DATA / GRAPH)
    _write_environment(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about its own annotations, at import
        text = _description(package, folder)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    return folder


def _description(package: Package, folder: Path) -> str:
    """Return the text of `MLmodel`."""
    import torch  # noqa: PLC0415
    from mlflow import pyfunc  # noqa: PLC0415
    from mlflow.models import Model  # noqa: PLC0415

    weights = package.files.get("weights.safetensors", "")
    model: Any = Model(
        utc_time_created=_WITHOUT_TIME,
        model_uuid=package.card.content_hash(weights) * 2,
        signature=_signature(len(package.card.targets)),
        model_size_bytes=(folder / DATA / GRAPH).stat().st_size,
        metadata=_metadata(package),
    )
    model.add_flavor(
        "pytorch", model_data=DATA, pytorch_version=_public(torch.__version__), code=None
    )
    pyfunc.add_to_model(
        model,
        loader_module="mlflow.pytorch",
        data=DATA,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        model_config={"device": "cpu"},
    )
    return str(model.to_yaml())


def _signature(n_targets: int) -> Any:  # noqa: ANN401
    """Return: any number of images of any height and width, one channel in, one per target out."""
    import numpy as np  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    def images(channels: int) -> Any:  # noqa: ANN401
        return Schema([TensorSpec(np.dtype("float32"), (-1, channels, -1, -1))])

    return ModelSignature(inputs=images(1), outputs=images(n_targets))


def _metadata(package: Package) -> dict[str, Any]:
    """Return what a caller has to know; values of training, nothing of people or places."""
    card = package.card
    return {
        "disclaimer": DISCLAIMER,
        "task": card.task,
        "targets": list(card.targets),
        "units": dict(card.units),
        "size_multiple_px": multiple_px(package),
        "smallest_size_px": 2 * multiple_px(package),
        "dataset_digest": card.dataset,
        "metric_definition": card.metric,
    }


def _write_environment(folder: Path) -> None:
    """Write what has to be installed, in the three ways that MLflow offers."""
    needed = [f"{name}=={_public(library_version(name))}" for name in _REQUIRED]
    python = platform.python_version()
    listed = "".join(f"  - {line}\n" for line in needed)
    texts = {
        "requirements.txt": "\n".join(needed) + "\n",
        "python_env.yaml": f"python: {python}\ndependencies:\n- -r requirements.txt\n",
        "conda.yaml": f"name: mlflow-env\nchannels:\n- conda-forge\ndependencies:\n"
        f"- python={python}\n- pip\n- pip:\n{listed}",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _public(version: str) -> str:
    """Return a version as package indexes list it, without the build that is installed here."""
    return version.partition("+")[0]
