"""Laws of finding tumours by their templates."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from dexsearch.data.image_info import ImageInfo
from dexsearch.data.image_info import Tumour as KnownTumour
from dexsearch.data.tumours import Tumours, tumours_of
from dexsearch.training.localisation import localisation_error_mm

SIZE_PX, PIXEL_MM = 72, 4.0
CPU = torch.device("cpu")


def shifted(images: torch.Tensor, rows: float, columns: float) -> torch.Tensor:
    moved = ndimage.shift(images.numpy(), (0, rows, columns), order=3, mode="nearest")
    return torch.from_numpy(moved).float()


@pytest.mark.parametrize(("rows", "columns"), [(0.0, 0.0), (2.0, -1.0), (0.4, 0.0), (-1.3, 0.6)])
def test_a_tumour_that_moved_is_found_as_far_as_it_moved(rows: float, columns: float) -> None:
    grid = torch.arange(SIZE_PX).float()
    spot = torch.exp(-((grid[:, None] - 36) ** 2 + (grid - 34) ** 2) / (2 * 2.5**2))[None]
    mask = torch.ones(1, 1, SIZE_PX, SIZE_PX, dtype=torch.bool)
    tumours = Tumours(*(torch.tensor([value]) for value in (36.0, 34.0, 7.0, 3.0)))
    images = torch.stack((spot, shifted(spot, rows, columns)), dim=1)
    error = localisation_error_mm(images, spot, tumours, mask, pixel_mm=PIXEL_MM)[0]
    assert error[0] == 0
    assert float(error[1]) == pytest.approx(3.0 * float(np.hypot(rows, columns)), abs=0.25)
    flat = localisation_error_mm(0 * images, spot, tumours, mask, pixel_mm=PIXEL_MM)[0]
    assert flat.tolist() == pytest.approx([3.0 * 4 * 2**0.5] * 2, rel=1e-4)
    off = dataclasses.replace(tumours, row_px=torch.tensor([500.0]))
    assert localisation_error_mm(images, spot, off, mask, pixel_mm=PIXEL_MM).isnan().all()


def test_a_cone_beam_shows_a_nearer_tumour_larger() -> None:
    known = KnownTumour(centre_mm=(0.0, -100.0, 0.0), diameter_mm=18.0, row_px=3.0, column_px=4.0)
    infos = [ImageInfo("a", (0.0, 0.0, 0.0), tumour=known), ImageInfo("b", (0.0, 0.0, 0.0))]
    cone = tumours_of(infos, pixel_mm=2.0, geometry="cone", device=CPU)
    parallel = tumours_of(infos, pixel_mm=2.0, geometry="parallel", device=CPU)
    assert float(parallel.diameter_px[0]) == 9.0
    assert float(cone.diameter_px[0]) == pytest.approx(10.0)
    assert float(cone.pixel_mm[0]) == pytest.approx(1.8)
    assert cone.known.tolist() == [True, False]
