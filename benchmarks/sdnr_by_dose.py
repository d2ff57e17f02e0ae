"""How well a rib and a tumour are seen at three doses: the input and the dual-energy images.

    python benchmarks/sdnr_by_dose.py [--dataset FOLDER] [--doses 0.02 0.1 0.5] [--out sdnr.png]

Rows: the single-energy input at 120 kVp; tissue and bone images of 60/120 and 80/140 kVp by
weighted subtraction with the weights of the spectra; soft tissue and bone of the polynomial
decomposition. A pair's dose is that of the input, shared evenly between its two exposures. Two
numbers each, defined in `dexsearch.training.sdnr`: quantum-limited / anatomy-limited. Rib:
against the spaces between ribs, over the lungs. Tumour: against the ring around it. A phantom
subject is seen from the front; of a dataset, a training view whose tumour is known.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dexsearch.data.exposures import exposure_of
from dexsearch.data.store import open_dataset
from dexsearch.figures.canvas import display_window, new_figure, save_figure, show_image
from dexsearch.physics.detector import log_projections
from dexsearch.physics.dual_energy import (
    bone_image,
    cancelling_weights,
    fit_decomposition,
    soft_image,
)
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.physics.projection import build_projector
from dexsearch.training.sdnr import Regions, rib_regions, tumour_regions, visibility
from dexsearch.volumes.phantom import phantom_subject

PAIRS_KVP = ((60.0, 120.0), (80.0, 140.0))
BODY_ABOVE_CM = 0.5
SHOWN = ("input 120 kVp", "tissue 60/120", "bone 60/120", "basis bone 60/120")


@dataclass(frozen=True)
class View:
    """One view: thicknesses (1 H W), the body and its tumour in pixels."""

    soft_cm: Tensor
    bone_cm: Tensor
    mask: Tensor
    detector: Detector
    exposure: Exposure
    row_px: float
    column_px: float
    diameter_px: float


Shot = Callable[[float, int], Tensor]
"""Gives an image at a dose in mAs; the number is the seed of its noise."""


def main() -> None:
    """Print the table and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--doses", type=float, nargs="+", default=[0.02, 0.1, 0.5])
    parser.add_argument("--subject", type=int, default=0, help="of the phantom cohort 0")
    parser.add_argument("--size", type=int, default=160, help="pixels a side, phantom only")
    parser.add_argument("--out", type=Path, default=Path("sdnr.png"))
    arguments = parser.parse_args()
    view = (
        phantom_view(arguments.subject, arguments.size)
        if arguments.dataset is None
        else dataset_view(arguments.dataset)
    )
    regions = {
        "rib": rib_regions(
            view.soft_cm, view.bone_cm, view.mask, pixel_mm=view.detector.pixel_mm
        ),
        "tumour": tumour_regions(
            torch.tensor([view.row_px]), torch.tensor([view.column_px]),
            torch.tensor([view.diameter_px]), view.mask,
        ),
    }  # fmt: skip
    kinds = image_kinds(view)
    print_table(kinds, regions, arguments.doses, view)
    print(f"picture: {draw(arguments.out, kinds, arguments.doses, view, regions)}")


def phantom_view(index: int, size_px: int) -> View:
    """Project one subject of the phantom cohort from the front."""
    detector = Detector(size_px=size_px, pixel_mm=320.0 / size_px)
    subject = phantom_subject(0, index, voxel_mm=max(1.5, detector.pixel_mm))
    projector = build_projector(subject.soft, subject.bone, voxel_mm=subject.voxel_mm)
    soft, bone = projector.path_lengths_cm((0.0, 0.0, 0.0), detector)
    if subject.tumour_centre_mm is None or subject.tumour_diameter_mm is None:
        raise SystemExit("this subject has no tumour; choose another --subject")
    row_mm, _, column_mm = subject.tumour_centre_mm
    middle = (size_px - 1) / 2
    return View(
        torch.from_numpy(soft)[None], torch.from_numpy(bone)[None],
        torch.from_numpy(soft + bone > BODY_ABOVE_CM)[None], detector, Exposure(),
        row_mm / detector.pixel_mm + middle, column_mm / detector.pixel_mm + middle,
        subject.tumour_diameter_mm / detector.pixel_mm,
    )  # fmt: skip


def dataset_view(path: Path) -> View:
    """Take the training view that is most frontal of those whose tumour is known."""
    dataset = open_dataset(path)
    exposed, lengths = exposure_of(dataset.manifest), dataset.path_lengths("train")
    infos = [
        (sum(map(abs, info.pose_deg)), index, info.tumour)
        for index, info in enumerate(dataset.manifest.images["train"])
        if info.tumour is not None
    ]
    if exposed is None or lengths is None or not infos:
        raise SystemExit(f"{path}: has no path lengths or no tumour whose place is known")
    _, index, tumour = min(infos, key=lambda entry: entry[:2])
    exposure, detector = exposed
    soft, bone = (torch.from_numpy(a[index : index + 1].astype(np.float32)) for a in lengths)
    mask = torch.from_numpy(np.array(dataset.arrays("train").mask[index : index + 1]))
    diameter_px = tumour.diameter_mm / detector.pixel_mm
    return View(soft, bone, mask, detector, exposure, tumour.row_px, tumour.column_px, diameter_px)


def image_kinds(view: View) -> dict[str, Shot]:
    """Return every row of the table as a function of dose and seed."""

    def shot(kvp: float, dose_mas: float, seed: int) -> Tensor:
        return log_projections(
            view.soft_cm, view.bone_cm, replace(view.exposure, kvp=kvp, dose_mas=dose_mas),
            detector=view.detector, rays_per_pixel=1, rng=torch.Generator().manual_seed(seed),
        )  # fmt: skip

    kinds: dict[str, Shot] = {"input 120 kVp": functools.partial(shot, 120.0)}
    for pair_kvp in PAIRS_KVP:
        kinds |= pair_kinds(view, pair_kvp, shot)
    return kinds


def pair_kinds(
    view: View, pair_kvp: tuple[float, float], shot: Callable[[float, float, int], Tensor]
) -> dict[str, Shot]:
    """Return the images that two exposures together give, by name."""
    low, high = (replace(view.exposure, kvp=kvp) for kvp in pair_kvp)
    weights, decomposition = cancelling_weights(low, high), fit_decomposition(low, high)

    def logs(dose: float, seed: int) -> tuple[Tensor, Tensor]:
        return (
            shot(pair_kvp[0], dose / 2, 2 * seed),
            shot(pair_kvp[1], dose / 2, 2 * seed + 1),
        )

    name = f"{pair_kvp[0]:g}/{pair_kvp[1]:g}"
    return {
        f"tissue {name}": lambda dose, seed: soft_image(
            *logs(dose, seed), weights.bone_cancelling
        ),
        f"bone {name}": lambda dose, seed: bone_image(*logs(dose, seed), weights.soft_cancelling),
        f"basis soft {name}": lambda dose, seed: decomposition.thickness_cm(*logs(dose, seed))[0],
        f"basis bone {name}": lambda dose, seed: decomposition.thickness_cm(*logs(dose, seed))[1],
    }


def print_table(
    kinds: dict[str, Shot], regions: dict[str, Regions], doses: list[float], view: View
) -> None:
    """Print quantum-limited / anatomy-limited ratios, a row per image, as Markdown."""
    columns = [f"{name}, {dose:g} mAs" for name in regions for dose in doses]
    print("SDNR: quantum-limited / anatomy-limited")
    print(f"| image | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for kind, shot in kinds.items():
        cells = []
        for region in regions.values():
            for dose in doses:
                seen = visibility(
                    shot(dose, 1), shot(dose, 2), region, pixel_mm=view.detector.pixel_mm
                )
                cells.append(f"{float(seen.quantum):.1f} / {float(seen.anatomy):.2f}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def draw(
    path: Path,
    kinds: dict[str, Shot],
    doses: list[float],
    view: View,
    regions: dict[str, Regions],
) -> Path:
    """Write the images at every dose, the tumour in a circle, the regions in the last column."""
    figure = new_figure(2.3 * len(SHOWN) + 0.6, 2.3 * len(doses) + 0.9)
    grid = figure.subplots(len(doses), len(SHOWN), squeeze=False)
    mask = view.mask[0].numpy()
    for column, kind in enumerate(SHOWN):
        images = [kinds[kind](dose, 1)[0].numpy() for dose in doses]
        window = display_window(images[-1:], [mask])
        for row, (dose, image) in enumerate(zip(doses, images, strict=True)):
            axes = grid[row][column]
            show_image(axes, np.where(mask, image, window[0]), window)
            circle = np.linspace(0, 2 * np.pi, 60)
            radius = 0.9 * view.diameter_px
            axes.plot(
                view.column_px + radius * np.cos(circle), view.row_px + radius * np.sin(circle),
                color="gold", linewidth=0.9,
            )  # fmt: skip
            one, two = kinds[kind](dose, 1), kinds[kind](dose, 2)
            told = []
            for name, region in regions.items():
                seen = visibility(one, two, region, pixel_mm=view.detector.pixel_mm)
                told.append(f"{name} {float(seen.quantum):.1f} / {float(seen.anatomy):.1f}")
            axes.set_xlabel(", ".join(told), fontsize=8)
            if row == 0:
                axes.set_title(kind, fontsize=9)
            if column == 0:
                axes.set_ylabel(f"{dose:g} mAs", fontsize=9)
    figure.suptitle(
        "SDNR of ribs and tumour (circle) by dose: quantum-limited / anatomy-limited", fontsize=10
    )
    return save_figure(figure, path, dpi=100)


if __name__ == "__main__":
    main()
