"""What `dexsearch export` does: a model in, one file for people without dexsearch out."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch import DISCLAIMER, __version__
from dexsearch.durable import file_sha256, flush_folder, partial_beside
from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.inference.formats import ExportFormat
from dexsearch.jobs.models import open_model
from dexsearch.registry.record import read_registry
from dexsearch.wording import printable

if TYPE_CHECKING:
    from dexsearch.inference.package import Package

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Export:
    """A file that was written and checked."""

    model: str
    version: int | None
    """None where a folder was given."""
    format: str
    file: str
    size_bytes: int
    sha256: str
    targets: tuple[str, ...]
    units: dict[str, str]
    multiple_px: int
    """Height and width of an image have to be multiples of it, two at least."""
    largest_difference: float
    """From the predictor, as a fraction of its largest value; 0 for copied weights."""

    def __str__(self) -> str:
        """Return the text for people: the file."""
        return self.file


def export_model(
    model: str, out: Path, kind: ExportFormat, *, workspace: Path, tell: Tell
) -> Export:
    """Write a generator as one file, which gets its name only when its answers agree.

    Args:
        model: `name@alias`, `name/version`, `name` (its champion), or a package folder.
        out: the file; one that is there is replaced.
        kind: of the file.
        workspace: where the registry is.
        tell: is given what the user should know, one line each.

    Raises:
        NotRegistered: if the registry holds no such model.
        DataError: if the package is damaged.
        ConfigurationError: if the file cannot be written.
        EnvironmentFault: if something is not installed, or the answers differ.
    """
    from dexsearch.inference.exportable import multiple_px

    package = open_model(model, workspace)
    name, version = _identity(workspace, package)
    if out.is_dir():
        raise ConfigurationError(
            f"cannot write {str(out)!r}: it is a folder", hint=f"name a file: {out / name}.{kind}"
        )
    if out.resolve().is_relative_to(package.path.resolve()):
        raise ConfigurationError(
            f"cannot write {str(out)!r}: it is in the folder of the generator itself",
            hint="name a file elsewhere",
        )
    facts = _facts(package, name, version)
    partial = partial_beside(out.absolute())
    tell(f"writing {kind}, and checking what it answers before it gets its name")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        difference = _write(package, partial, kind, facts)
        size, sha256 = partial.stat().st_size, file_sha256(partial)
        partial.replace(out)
        flush_folder(partial.parent)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {str(out)!r}: {error.strerror or error}",
            hint="name a file in a folder that can be written",
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    tell(_told_use(out, kind, multiple_px(package), difference))
    tell(DISCLAIMER)
    card = package.card
    return Export(
        name, version, kind.value, str(out), size, sha256, card.targets,
        {one: card.units.get(one, "") for one in ("input", *card.targets)}, multiple_px(package),
        difference,
    )  # fmt: skip


def _write(package: "Package", path: Path, kind: ExportFormat, facts: dict[str, str]) -> float:
    """Write the file and return its largest difference from the predictor."""
    import torch

    from dexsearch.inference.agreement import largest_difference
    from dexsearch.inference.exportable import export_pt2
    from dexsearch.inference.onnx_file import OnnxNetwork, export_onnx

    if kind is ExportFormat.SAFETENSORS:
        return _write_weights(package, path, facts)
    if kind is ExportFormat.ONNX:
        export_onnx(package, path, facts)
        return largest_difference(package, OnnxNetwork(path))
    export_pt2(package, path, facts)
    with torch.no_grad(), path.open("rb") as file:  # by name, it would have to end in .pt2
        return largest_difference(package, torch.export.load(file).module())


def _write_weights(package: "Package", path: Path, facts: dict[str, str]) -> float:
    """Copy the weights with what they are in the file's header; check that they read the same."""
    import torch
    from safetensors.torch import load_file, save

    from dexsearch.inference.predict import load_predictor

    load_predictor(package)  # weights and configuration belong together
    weights = load_file(package.weights)
    path.write_bytes(save(weights, metadata=facts))
    again = load_file(path)
    if set(again) != set(weights) or not all(torch.equal(again[k], weights[k]) for k in weights):
        raise EnvironmentFault("the weights do not read as they were written; is the disk sound?")
    return 0.0


def _identity(workspace: Path, package: "Package") -> tuple[str, int | None]:
    """Return the registered name and version, or the name that a folder's task would have."""
    registry = read_registry(workspace)
    for version in registry.versions:
        if version.sha256 == package.sha256:
            return version.name, version.version
    return f"dexsearch-{package.card.task}", None


def _facts(package: "Package", name: str, version: int | None) -> dict[str, str]:
    """Return what the file says about itself; nothing of people or places."""
    from dexsearch.inference.exportable import multiple_px
    from dexsearch.inference.package import WEIGHTS

    card, step = package.card, multiple_px(package)
    inside = card.normalization["mode"]
    return {
        "disclaimer": DISCLAIMER,
        "model": name,
        "version": "" if version is None else str(version),
        "study": card.study,
        "trial": str(card.trial),
        "weights_sha256": package.files[WEIGHTS],
        "package_sha256": package.sha256,
        "dataset_digest": card.dataset,
        "input_unit": card.units.get("input", ""),
        "targets": json.dumps(list(card.targets)),
        "target_units": json.dumps({one: card.units.get(one, "") for one in card.targets}),
        "size": f"height and width are multiples of {step}, {2 * step} or more",
        "multiple_px": str(step),
        "normalization": f"{inside}; done inside onnx and pt2 files",
        "generator": json.dumps(card.trial_config["generator"]),
        "normalization_values": json.dumps(card.normalization),
        "dexsearch": __version__,
    }


def _told_use(out: Path, kind: ExportFormat, step: int, difference: float) -> str:
    """Return the next thing to type."""
    file = printable(str(out))
    if kind is ExportFormat.SAFETENSORS:
        return f"next: safetensors.torch.load_file({file!r}); the header says how it was built"
    call = {
        ExportFormat.ONNX: f"onnxruntime.InferenceSession({file!r}).run(None, {{'image': x}})[0]",
        ExportFormat.PT2: f"torch.export.load({file!r}).module()(x)",
    }[kind]
    return (
        f"its answers differ from dexsearch's by at most {difference:.1g} of the largest value\n"
        f"next: {call}, x: float32 of images x 1 x height x width, both multiples of {step}"
    )
