"""A registered generator of format 2 with a real network and its MLflow model."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from dexsearch.inference.package import Package, write_package
from dexsearch.registry.served_model import write_served_model
from dexsearch.registry.store import package_folder, register


def make_served(workspace: Path, *, task: str = "joint", **generator: object) -> Package:
    """Write the package of an untrained generator into a workspace, with its MLflow model."""
    samples_file = Path(__file__).parents[2] / "inference" / "samples.py"
    spec = spec_from_file_location("inference_samples", samples_file)
    assert spec is not None
    assert spec.loader is not None
    samples = module_from_spec(spec)
    spec.loader.exec_module(samples)
    plain = samples.make_package(workspace / "plain", task=task, **generator)

    def draw(folder: Path) -> None:
        write_served_model(Package(folder, plain.card, plain.files, ""))

    return write_package(
        package_folder(workspace, plain.card.content_hash(plain.sha256)),
        weights=plain.weights.read_bytes(),
        card=plain.card,
        curve=[{"epoch": 1}],
        draw=draw,
    )


def register_served(workspace: Path) -> Package:
    """Make and register the smallest one."""
    package = make_served(workspace, depth=2)
    register(workspace, [package])
    return package
