"""A plastic thorax in the manner of the CIRS dynamic thorax phantom that xray_GAN was scanned on.

An elliptic cylinder of plastic water, two lung bores from end to end, a spine with discs and
cord, six ribs a side, and a spherical target in the left lung. Sizes and layout follow
xray_GAN's published pictures, not a data sheet (docs/phantom.md).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from dexsearch.physics.attenuation import Material, linear_attenuation_per_cm
from dexsearch.volumes.shapes import Capsule, Ellipsoid, Grid, Point, Slices, coverage, drawn
from dexsearch.volumes.subject import Subject

LENGTH_MM = 150.0
HALF_WIDTH_MM = 150.0
HALF_DEPTH_MM = 100.0
AIR_MM = 10.0
LUNG_X_MM = 76.0
LUNG_Y_MM = -5.0
LUNG_HALF_WIDTH_MM = 46.0
LUNG_HALF_DEPTH_MM = 56.0
SPINE_Y_MM = 52.0
SPINE_HALF_WIDTH_MM = 19.0
SPINE_HALF_DEPTH_MM = 15.0
CORD_Y_MM = 78.0
CORD_RADIUS_MM = 8.0
PITCH_MM = 25.0
"""Of vertebrae and of ribs."""
DISC_MM = 3.0
RIB_HALF_WIDTH_MM = 133.0
RIB_HALF_DEPTH_MM = 82.0
RIB_RADII_MM = (5.5, 3.5, 3.5)
RIB_DROP_MM = 14.0
TARGET_MM: Point = (5.0, -10.0, LUNG_X_MM)
TARGET_DIAMETER_MM = 20.0
FIT_KEV = (30.0, 120.0)


@dataclass(frozen=True, slots=True)
class Fractions:
    """A plastic as fractions of ICRU-44 soft tissue and cortical bone."""

    soft: float
    bone: float


def plastic_fractions(material: Material) -> Fractions:
    """Return the two-basis mixture nearest to a material over 30..120 keV, neither negative."""
    energy_kev = np.arange(FIT_KEV[0], FIT_KEV[1] + 1.0)
    wanted = linear_attenuation_per_cm(material, energy_kev)
    basis = np.stack(
        [linear_attenuation_per_cm(name, energy_kev) for name in ("soft_tissue", "cortical_bone")],
        axis=1,
    )
    # Relative errors count alike at all energies.
    soft, bone = nnls(basis / wanted[:, None], np.ones_like(wanted))[0]
    return Fractions(float(soft), float(bone))


def cirs_like(*, voxel_mm: float) -> Subject:
    """Draw the plastic thorax; its target's centre and every length are known by design."""
    extents = (LENGTH_MM, 2.0 * HALF_DEPTH_MM, 2.0 * HALF_WIDTH_MM)
    n0, n1, n2 = (int(np.ceil((extent + 2.0 * AIR_MM) / voxel_mm)) for extent in extents)
    canvas = _Canvas(Grid((n0, n1, n2), voxel_mm))
    body, lung = plastic_fractions("cirs_plastic_water"), plastic_fractions("cirs_lung_inhale")
    bone, cord = plastic_fractions("cirs_bone_adult"), plastic_fractions("cirs_spinal_cord")
    half = 0.5 * LENGTH_MM
    canvas.cylinder((0.0, 0.0, 0.0), HALF_DEPTH_MM, HALF_WIDTH_MM, half, body)
    for side in (-1.0, 1.0):
        centre = (0.0, LUNG_Y_MM, side * LUNG_X_MM)
        canvas.cylinder(centre, LUNG_HALF_DEPTH_MM, LUNG_HALF_WIDTH_MM, half, lung)
        for rib_mm in _levels():
            canvas.shapes(tuple(_rib(rib_mm, side)), bone)
    for vertebra_mm in _levels():
        centre = (vertebra_mm, SPINE_Y_MM, 0.0)
        height = 0.5 * (PITCH_MM - DISC_MM)
        canvas.cylinder(centre, SPINE_HALF_DEPTH_MM, SPINE_HALF_WIDTH_MM, height, bone)
        centre = (vertebra_mm, CORD_Y_MM, 0.0)
        canvas.cylinder(centre, CORD_RADIUS_MM + 6.0, CORD_RADIUS_MM + 7.0, 0.7 * height, bone)
    canvas.cylinder((0.0, CORD_Y_MM, 0.0), CORD_RADIUS_MM, CORD_RADIUS_MM, half, cord)
    radius = 0.5 * TARGET_DIAMETER_MM
    canvas.shapes((Ellipsoid(TARGET_MM, (radius, radius, radius)),), body)
    return Subject(
        name="cirs-like",
        soft=canvas.soft,
        bone=canvas.bone,
        voxel_mm=voxel_mm,
        tumour_centre_mm=TARGET_MM,
        tumour_diameter_mm=TARGET_DIAMETER_MM,
    )


class _Canvas:
    """Two basis volumes on which a later plastic takes the place of an earlier one."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.soft = np.zeros(grid.shape, dtype=np.float32)
        self.bone = np.zeros(grid.shape, dtype=np.float32)

    def shapes(self, shapes: tuple[Capsule | Ellipsoid, ...], plastic: Fractions) -> None:
        """Fill the union of shapes."""
        canvas = drawn(shapes, self.grid)
        if canvas is not None:
            box, field = canvas
            self._fill(box, coverage(field, self.grid.voxel_mm), plastic)

    def cylinder(
        self,
        centre_mm: Point,
        half_depth_mm: float,
        half_width_mm: float,
        half_length_mm: float,
        plastic: Fractions,
    ) -> None:
        """Fill an elliptic cylinder along the first axis."""
        reach = np.array([half_length_mm, half_depth_mm, half_width_mm])
        (z0, y0, x0), (z1, y1, x1) = (
            (np.array(centre_mm) + sign * reach).tolist() for sign in (-1.0, 1.0)
        )
        box = self.grid.box((z0, y0, x0), (z1, y1, x1))
        if box is None:
            return
        local = self.grid.within(box)
        ends = np.abs(local.axis_mm(0) - np.float32(centre_mm[0])) - np.float32(half_length_mm)
        width, depth, middle = np.array(
            [[half_width_mm], [half_depth_mm], [centre_mm[1]]], dtype=np.float32
        )
        ellipse = Slices(width, depth, middle, power=2.0).distance_mm(
            local.axis_mm(1), local.axis_mm(2) - np.float32(centre_mm[2])
        )
        share = coverage(ellipse, local.voxel_mm) * coverage(ends, local.voxel_mm)[:, None, None]
        self._fill(box, share, plastic)

    def _fill(
        self, box: tuple[slice, slice, slice], share: NDArray[np.float32], plastic: Fractions
    ) -> None:
        for volume, fraction in ((self.soft, plastic.soft), (self.bone, plastic.bone)):
            volume[box] += share * (np.float32(fraction) - volume[box])


def _levels() -> list[float]:
    n = round(LENGTH_MM / PITCH_MM)
    return [(level - (n - 1) / 2.0) * PITCH_MM for level in range(n)]


def _rib(level_mm: float, side: float) -> Iterator[Capsule]:
    """Yield a rib from beside the spine round the lung to the front."""
    angles = np.deg2rad(np.linspace(28.0, 150.0, 20))
    points = [
        (
            level_mm - 3.0 + RIB_DROP_MM * (0.5 - 0.5 * float(np.cos(angle))) - 4.0,
            RIB_HALF_DEPTH_MM * float(np.cos(angle)),
            side * RIB_HALF_WIDTH_MM * float(np.sin(angle)),
        )
        for angle in angles
    ]
    for start, end in itertools.pairwise(points):
        yield Capsule(start, end, RIB_RADII_MM)
