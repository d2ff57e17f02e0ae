"""Measure and hash finished arrays: what a manifest says of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dexsearch.data.manifest import FORMAT, TARGETS, Manifest, Origin
from dexsearch.data.splits import SUBSETS
from dexsearch.data.statistics import data_range, mean_and_std
from dexsearch.data.writing import Written
from dexsearch.durable import file_sha256
from dexsearch.errors import DataError


def build_manifest(folder: Path, written: Written, origin: Origin) -> Manifest:
    """Measure the training arrays as they are stored, hash all files, and return the manifest.

    Raises:
        DataError: if the training inputs or a target are constant inside the mask.
    """
    layout = written.layout
    names = ("input", "mask", *(name for name in TARGETS if name in layout.arrays))
    train = {name: np.load(folder / "train" / f"{name}.npy", mmap_mode="r") for name in names}
    mean, std = mean_and_std(train["input"], train["mask"])
    ranges = {name: data_range(train[name], train["mask"]) for name in names if name in TARGETS}
    for name, spread in {"input": std, **ranges}.items():
        if not spread > 0:
            raise DataError(
                f"the {name} images of the training subset are constant inside the mask",
                hint="check that the right images were given",
            )
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
        input_mean=mean,
        input_std=std,
        data_ranges=ranges,
        units=origin.units,
        arrays=layout.arrays,
        path_lengths=layout.path_lengths,
        split_rule=origin.split_rule,
        images=written.images,
        left_out=written.left_out,
        files=files,
        source=origin.source,
    )
    identified = replace(manifest, digest=manifest.digest_of_contents)
    return replace(identified, checksum=identified.checksum_of_contents)
