"""Measure and hash finished arrays: what a manifest says of them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dexsearch.data.manifest import FORMAT, TARGETS, Manifest, Origin
from dexsearch.data.samples import Layout
from dexsearch.data.splits import SUBSETS
from dexsearch.data.statistics import data_range, mean_and_std
from dexsearch.data.writing import Written
from dexsearch.durable import file_sha256
from dexsearch.errors import DataError


def build_manifest(
    folder: Path, written: Written, origin: Origin, *, made_with: Mapping[str, str]
) -> Manifest:
    """Measure the training arrays as they are stored, hash all files, and return the manifest.

    Raises:
        DataError: if the training inputs or a target are constant inside the mask.
    """
    layout = written.layout
    input_mean, input_std, ranges = _constants(folder / "train", layout, origin.units)
    files = {
        f"{subset}/{name}.npy": file_sha256(folder / subset / f"{name}.npy")
        for subset in SUBSETS
        for name in layout.arrays
    }
    manifest = Manifest(
        format=FORMAT,
        kind=origin.kind,
        digest="",
        checksum="",
        size_px=layout.size_px,
        pixel_mm=origin.pixel_mm,
        input_mean=input_mean,
        input_std=input_std,
        data_ranges=ranges,
        units=origin.units,
        arrays=layout.arrays,
        path_lengths=layout.path_lengths,
        split_rule=origin.split_rule,
        images=written.images,
        left_out=written.left_out,
        files=files,
        source=origin.source,
        made_with=dict(made_with),
    )
    identified = replace(manifest, digest=manifest.digest_of_contents)
    return replace(identified, checksum=identified.checksum_of_contents)


def _constants(
    train: Path, layout: Layout, units: Mapping[str, str]
) -> tuple[float, float, dict[str, float]]:
    """Return mean and standard deviation of the inputs, and the data range of each target."""
    sources = _range_sources(layout, units)
    arrays = {
        name: np.load(train / f"{name}.npy", mmap_mode="r")
        for name in {"input", "mask", *sources.values()}
    }
    mean, std = mean_and_std(arrays["input"], arrays["mask"])
    ranges = {name: data_range(arrays[array], arrays["mask"]) for name, array in sources.items()}
    for name, spread in {"input": std, **ranges}.items():
        if not spread > 0:
            raise DataError(
                f"the {name} images of the training subset are constant inside the mask",
                hint="check that the right images were given",
            )
    return mean, std, ranges


def _range_sources(layout: Layout, units: Mapping[str, str]) -> dict[str, str]:
    """Return the array that the data range of each target comes from.

    A target in cm beside clean path lengths is a noisy measurement of them, whose outliers say
    nothing about the range of what is looked for.
    """
    sources = {name: name for name in TARGETS if name in layout.arrays}
    if layout.path_lengths is None:
        return sources
    clean = {"bone": layout.path_lengths.bone, "tissue": layout.path_lengths.soft}
    return {name: clean[name] if units.get(name) == "cm" else name for name in sources}
