"""The bones of a procedural thorax as lists of capsules and ellipsoids."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dexsearch.volumes.anatomy import (
    CAUDAL_AND_CRANIAL,
    N_VERTEBRAE,
    RIB_DROP_MM,
    RIB_END_DEG,
    RIB_HALF_DEPTH_MM,
    RIB_HALF_WIDTH_MM,
    Anatomy,
)
from dexsearch.volumes.shapes import Capsule, Ellipsoid, Point

CAPSULES_PER_RIB = 24
RIB_START_DEG = 20.0
SIDES = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Bone:
    """Shapes that share one shell and one core."""

    shapes: tuple[Capsule | Ellipsoid, ...]
    cortex_mm: float
    core_fraction: float
    """Fraction of cortical bone in the core."""


def skeleton(anatomy: Anatomy) -> tuple[Bone, ...]:
    """Return all bones of one subject, grouped by shell and core."""
    cortex, marrow = anatomy.cortex_mm, anatomy.marrow_fraction
    return (
        Bone(tuple(_ribs(anatomy)), cortex, marrow),
        Bone(tuple(_vertebrae(anatomy)), 0.8 * cortex, anatomy.trabecular_fraction),
        Bone(tuple(_sternum(anatomy)), 0.8 * cortex, marrow),
        Bone(tuple(_shoulder_girdle(anatomy)), 1.2 * cortex, marrow),
        Bone(tuple(_shoulder_blades(anatomy)), 0.7 * cortex, marrow),
    )


def rib_line(anatomy: Anatomy, rib: int, side: float) -> list[Point]:
    """Return the centre line of a rib, 0..11, from its vertebra to its front end."""
    vertebra_z, vertebra_y, vertebra_x = anatomy.vertebra_mm(rib)
    half_width = anatomy.width * RIB_HALF_WIDTH_MM[rib]
    half_depth = anatomy.depth * RIB_HALF_DEPTH_MM[rib]
    drop = anatomy.rib_slope * RIB_DROP_MM[rib]
    end = RIB_END_DEG[rib] * (anatomy.last_rib if rib >= 10 else 1.0)
    centre_y = anatomy.back_mm(rib) - half_depth
    top = vertebra_z - 0.35 * anatomy.pitch_mm(rib)
    line = [(top - 1.0, vertebra_y + 12.0, vertebra_x + 16.0 * side)]
    for angle in np.deg2rad(np.linspace(RIB_START_DEG, max(end, 30.0), CAPSULES_PER_RIB)):
        fall = 0.5 * (1.0 - float(np.cos(angle)))
        # The front part rises again towards the breastbone, as cartilage pulls it up.
        lift = 0.12 * max(0.0, float(angle) - 2.2)
        line.append(
            (
                top + drop * (fall - lift),
                centre_y + half_depth * float(np.cos(angle)),
                vertebra_x + side * half_width * float(np.sin(angle)) ** 0.85,
            )
        )
    return line


def _ribs(anatomy: Anatomy) -> Iterator[Capsule]:
    for rib in range(N_VERTEBRAE):
        thick = anatomy.rib_thickness * (0.8 if rib >= 10 else 1.0)
        radii = (6.2 * thick, 3.6 * thick, 3.6 * thick)
        for side in SIDES:
            line = rib_line(anatomy, rib, side)
            for start, end in itertools.pairwise(line):
                yield Capsule(start, end, radii)


def _vertebrae(anatomy: Anatomy) -> Iterator[Capsule | Ellipsoid]:
    for level in range(-CAUDAL_AND_CRANIAL, N_VERTEBRAE + CAUDAL_AND_CRANIAL):
        z, y, x = anatomy.vertebra_mm(level)
        pitch = anatomy.pitch_mm(level)
        grow = float(np.interp(level, (-3, 0, 11, 14), (0.75, 0.85, 1.2, 1.35)))
        body = (0.42 * pitch, 13.0 * grow, 15.0 * grow)
        yield Ellipsoid((z, y, x), body, power=5.0)
        canal_y = y + body[1] + 9.0
        tip = (z + 0.9 * pitch, canal_y + 26.0, x)
        yield Capsule((z + 2.0, canal_y + 8.0, x), tip, (4.5, 4.0, 2.6))
        for side in SIDES:
            pedicle = (z - 0.12 * pitch, y + body[1] - 2.0, x + 10.0 * grow * side)
            facet = (z, canal_y + 2.0, x + 12.0 * grow * side)
            yield Capsule(pedicle, facet, (5.0, 4.0, 3.6))
            yield Capsule(facet, (z + 3.0, canal_y + 9.0, x), (6.0, 3.0, 3.0))
            process = (z - 3.0, canal_y + 9.0, x + (24.0 + 4.0 * grow) * side)
            yield Capsule(facet, process, (4.0, 3.5, 3.5))


def _sternum(anatomy: Anatomy) -> Iterator[Capsule | Ellipsoid]:
    top = rib_line(anatomy, 0, 1.0)[-1]
    bottom = rib_line(anatomy, 5, 1.0)[-1]
    manubrium = (top[0] + 6.0, top[1] - 6.0, 0.0)
    end = (bottom[0] + 8.0, bottom[1] - 8.0, 0.0)
    angle = (
        manubrium[0] + 0.3 * (end[0] - manubrium[0]),
        manubrium[1] + 0.42 * (end[1] - manubrium[1]),
        0.0,
    )
    yield Capsule(manubrium, angle, (8.0, 5.0, 22.0))
    yield Capsule(angle, end, (8.0, 5.0, 15.0))


def shoulder_mm(anatomy: Anatomy, side: float) -> Point:
    """Return the place of the shoulder joint."""
    z, y, _ = anatomy.vertebra_mm(1)
    return z + 4.0, y + 2.0, side * (140.0 * anatomy.width + 12.0)


def _shoulder_girdle(anatomy: Anatomy) -> Iterator[Capsule | Ellipsoid]:
    top = rib_line(anatomy, 0, 1.0)[-1]
    for side in SIDES:
        joint_z, joint_y, joint_x = shoulder_mm(anatomy, side)
        points = (
            (top[0] - 2.0, top[1] - 8.0, 22.0 * side),
            (top[0] - 11.0, top[1] - 13.0, 52.0 * side),
            (joint_z - 22.0, joint_y - 30.0, joint_x - 52.0 * side),
            (joint_z - 22.0, joint_y - 2.0, joint_x - 8.0 * side),
        )
        for start, end in itertools.pairwise(points):
            yield Capsule(start, end, (5.5, 5.5, 5.5))
        yield Ellipsoid((joint_z, joint_y, joint_x + 14.0 * side), (22.0, 22.0, 22.0))


def _shoulder_blades(anatomy: Anatomy) -> Iterator[Capsule]:
    width = anatomy.width
    for side in SIDES:
        joint_z, joint_y, joint_x = shoulder_mm(anatomy, side)
        glenoid = (joint_z + 4.0, joint_y + 8.0, joint_x - 14.0 * side)
        upper_z = anatomy.vertebra_mm(1)[0] + 2.0
        upper = (upper_z, anatomy.back_mm(2) + 12.0, 72.0 * width * side)
        lower_z = anatomy.vertebra_mm(7)[0] - 4.0
        lower = (lower_z, anatomy.back_mm(7) + 8.0, 92.0 * width * side)
        spine = (upper_z + 18.0, upper[1] + 3.0, 74.0 * width * side)
        acromion = (joint_z - 20.0, joint_y + 10.0, joint_x + 2.0 * side)
        yield Capsule(glenoid, lower, (4.6, 4.6, 4.6))
        yield Capsule(upper, lower, (2.6, 2.6, 2.6))
        yield Capsule(upper, glenoid, (3.0, 3.0, 3.0))
        yield Capsule(spine, acromion, (4.5, 4.5, 4.5))
        for share in np.linspace(0.08, 0.92, 14):
            inner = _between(upper, lower, float(share))
            outer = _between(glenoid, lower, float(share))
            yield Capsule(inner, outer, (6.0, 1.5, 2.0))


def _between(a: Point, b: Point, share: float) -> Point:
    return (
        a[0] + share * (b[0] - a[0]),
        a[1] + share * (b[1] - a[1]),
        a[2] + share * (b[2] - a[2]),
    )
