"""A registered generator of format 2 with a real network and its MLflow model."""

from pathlib import Path

from dexsearch.inference.package import Package, write_package
from dexsearch.registry.served_model import write_served_model
from dexsearch.registry.store import package_folder, register
from tests.inference import samples


def make_served(workspace: Path, *, task: str = "joint", **generator: object) -> Package:
    """Write the package of an untrained generator into a workspace, with its MLflow model."""
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
