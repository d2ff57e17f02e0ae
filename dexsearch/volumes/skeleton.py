"""The bones of a procedural thorax as lists of capsules and ellipsoids."""

import itertools
from collections.abc import Iterator, Sequence
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
    cage_profile,
)
from dexsearch.volumes.outline import shoulder_reach_mm
from dexsearch.volumes.shapes import Capsule, Ellipsoid, Point, Shape

CAPSULES_PER_RIB = 24
RIB_START_DEG = 20.0
SIDES = (-1.0, 1.0)
TRUE_RIBS = 7
RIBS_WITH_CARTILAGE = 10
STERNUM_SHARES = (0.04, 0.24, 0.42, 0.58, 0.72, 0.85, 0.97)
"""Where cartilages 1 to 7 meet the breastbone, from its top to its end."""
HUMERUS_CORTEX_MM = 3.0


@dataclass(frozen=True, slots=True)
class Bone:
    """Shapes that share one shell and one core."""

    name: str
    shapes: tuple[Shape, ...]
    cortex_mm: float
    core_fraction: float
    """Fraction of cortical bone in the core."""


def skeleton(anatomy: Anatomy) -> Iterator[Bone]:
    """Yield the bones of one subject; a later one lies over an earlier one."""
    cortex, marrow = anatomy.cortex_mm, anatomy.marrow_fraction
    for side, hand in zip(SIDES, ("right", "left"), strict=True):
        cartilage = tuple(_cartilages(anatomy, side))
        yield Bone(f"{hand} cartilages", cartilage, 0.0, anatomy.cartilage_fraction)
        blade = tuple(_shoulder_blade(anatomy, side))
        yield Bone(f"{hand} scapula", blade, 0.7 * cortex, marrow)
        collarbone = tuple(_collarbone(anatomy, side))
        yield Bone(f"{hand} clavicle", collarbone, 1.4 * cortex, marrow)
        shaft, head = tuple(_humerus(anatomy, side)), tuple(_humeral_head(anatomy, side))
        yield Bone(f"{hand} humerus", shaft, HUMERUS_CORTEX_MM, marrow)
        yield Bone(f"{hand} humeral head", head, cortex, marrow)
    for level in range(-CAUDAL_AND_CRANIAL, N_VERTEBRAE + CAUDAL_AND_CRANIAL):
        shapes = tuple(_vertebra(anatomy, level))
        yield Bone(f"vertebra {level + 1}", shapes, 0.5 * cortex, anatomy.trabecular_fraction)
    yield Bone("sternum", tuple(_sternum(anatomy)), 0.8 * cortex, marrow)
    for rib in range(N_VERTEBRAE):
        for side, hand in zip(SIDES, ("right", "left"), strict=True):
            yield Bone(f"{hand} rib {rib + 1}", tuple(_rib(anatomy, rib, side)), cortex, marrow)


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
        fall = 0.35 * (1.0 - float(np.cos(angle))) + 0.3 * float(angle) / np.pi
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


def _rib(anatomy: Anatomy, rib: int, side: float) -> Iterator[Capsule]:
    """Yield a chain of capsules; the front is taller and flatter than the back."""
    thick = anatomy.rib_thickness * (0.8 if rib >= 10 or rib == 0 else 1.0)
    line = rib_line(anatomy, rib, side)
    for step, (start, end) in enumerate(itertools.pairwise(line)):
        forward = step / CAPSULES_PER_RIB
        tall, flat = (5.6 + 1.4 * forward) * thick, (3.8 - 0.5 * forward) * thick
        yield Capsule(start, end, (tall, flat, flat))


def _cartilages(anatomy: Anatomy, side: float) -> Iterator[Capsule]:
    top, bottom = _sternum_line(anatomy)
    before: Point | None = None
    for rib in range(RIBS_WITH_CARTILAGE):
        start = rib_line(anatomy, rib, side)[-1]
        if rib < TRUE_RIBS or before is None:
            z, y, x = _between(top, bottom, STERNUM_SHARES[rib])
            end = (z, y, x + 17.0 * side)
        else:
            end = before
        dip = 0.12 * abs(start[2] - end[2])
        middle = _between(start, end, 0.5)
        middle = (middle[0] + dip, middle[1], middle[2])
        yield Capsule(start, middle, (5.5, 3.5, 3.5))
        yield Capsule(middle, end, (5.0, 3.5, 3.5))
        before = middle


def _vertebra(anatomy: Anatomy, level: int) -> Iterator[Shape]:
    """Yield body, pedicles, laminae, transverse and spinous processes."""
    z, y, x = anatomy.vertebra_mm(level)
    pitch = anatomy.pitch_mm(level)
    half_width = float(np.interp(level, (-5, 0, 4, 11, 16), (11.0, 13.5, 13.5, 20.0, 23.0)))
    half_depth = float(np.interp(level, (-5, 0, 11, 16), (8.0, 9.5, 15.5, 17.0)))
    yield Ellipsoid((z, y, x), (0.42 * pitch, half_depth, half_width), power=4.0)
    canal_y = y + half_depth + 9.0
    length = 16.0 if level < 0 else 25.0
    yield Capsule((z + 2, canal_y + 8, x), (z + 0.9 * pitch, canal_y + length, x), (4.5, 4.0, 2.6))
    for side in SIDES:
        pedicle = (z - 0.12 * pitch, y + half_depth - 2.0, x + 0.68 * half_width * side)
        facet = (z, canal_y + 2.0, x + 0.8 * half_width * side)
        yield Capsule(pedicle, facet, (5.0, 4.0, 3.4))
        yield Capsule(facet, (z + 3.0, canal_y + 9.0, x), (6.0, 3.0, 3.0))
        reach = 22.0 if level < 0 else 30.0
        yield Capsule(facet, (z - 3.0, canal_y + 9.0, x + reach * side), (4.0, 3.5, 3.5))


def _sternum_line(anatomy: Anatomy) -> tuple[Point, Point]:
    """Return top and end of the breastbone, just in front of the cage."""
    cage = cage_profile(anatomy)
    front = cage.centre_y_mm - cage.half_depth_mm
    top = rib_line(anatomy, 0, 1.0)[-1][0] - 6.0
    bottom = anatomy.vertebra_mm(8)[0] - 4.0
    top_y, bottom_y = np.interp((top, bottom), cage.z_mm, front)
    return (top, float(top_y) - 4.0, 0.0), (bottom, float(bottom_y) - 4.0, 0.0)


def _sternum(anatomy: Anatomy) -> Iterator[Shape]:
    """Yield handle, body and sword of the breastbone."""
    top, bottom = _sternum_line(anatomy)
    z, y, x = _between(top, bottom, 0.28)
    angle = (z, y - 4.0, x)
    yield Capsule(_between(top, angle, 0.2), angle, (9.0, 5.0, 20.0))
    yield Capsule(angle, bottom, (8.0, 4.8, 14.0))
    yield Capsule(bottom, (bottom[0] + 22.0, bottom[1] + 4.0, 0.0), (5.0, 3.0, 6.0))


def shoulder_mm(anatomy: Anatomy, side: float) -> Point:
    """Return the place of the shoulder joint."""
    z, y, _ = anatomy.vertebra_mm(1)
    return z + 20.0, y - 4.0, side * (shoulder_reach_mm(anatomy) - 52.0)


def _collarbone(anatomy: Anatomy, side: float) -> Iterator[Capsule]:
    """Yield an S: bowed forward at the breastbone, backward at the shoulder."""
    (top_z, top_y, _), _ = _sternum_line(anatomy)
    joint_z, joint_y, joint_x = shoulder_mm(anatomy, side)
    inner = (top_z + 3.0, top_y, 21.0 * side)
    outer = (joint_z - 26.0, joint_y - 2.0, joint_x - 4.0 * side)
    points = []
    for share in np.linspace(0.0, 1.0, 11):
        z, y, x = _between(inner, outer, float(share))
        bow = float(np.sin(2.0 * np.pi * share**1.1))
        points.append((z + 3.0 * bow, y - 12.0 * bow, x))
    for step, (start, end) in enumerate(itertools.pairwise(points)):
        radius = 5.2 + 1.8 * abs(2.0 * step / 9.0 - 1.0) ** 2
        yield Capsule(start, end, (radius, radius, radius))


def _humerus(anatomy: Anatomy, side: float) -> Iterator[Shape]:
    z, y, x = shoulder_mm(anatomy, side)
    yield Capsule((z + 32.0, y, x + 16.0 * side), (z + 46.0, y, x + 18.0 * side), (11.5,) * 3)


def _humeral_head(anatomy: Anatomy, side: float) -> Iterator[Shape]:
    z, y, x = shoulder_mm(anatomy, side)
    yield Ellipsoid((z, y, x + 7.0 * side), (22.0, 21.0, 22.0))
    yield Capsule((z + 8.0, y, x + 13.0 * side), (z + 18.0, y, x + 15.0 * side), (17.5,) * 3)
    yield Capsule((z + 16.0, y, x + 15.0 * side), (z + 34.0, y, x + 17.0 * side), (13.0,) * 3)


def _shoulder_blade(anatomy: Anatomy, side: float) -> Iterator[Capsule]:
    """Yield neck, borders, spine with acromion and blade of a scapula."""
    width = anatomy.width
    joint_z, joint_y, joint_x = shoulder_mm(anatomy, side)
    glenoid = (joint_z + 2.0, joint_y + 6.0, joint_x - 19.0 * side)
    upper_z = anatomy.vertebra_mm(1)[0] + 4.0
    upper = (upper_z, anatomy.back_mm(2) - 2.0, 90.0 * width * side)
    lower = (anatomy.vertebra_mm(7)[0] - 10.0, anatomy.back_mm(7) - 16.0, 110.0 * width * side)
    spine = (upper_z + 18.0, upper[1] + 3.0, 93.0 * width * side)
    acromion = (joint_z - 26.0, joint_y + 6.0, joint_x + 4.0 * side)
    yield Capsule(glenoid, _between(glenoid, lower, 0.16), (9.0, 6.0, 6.0))
    yield Capsule(glenoid, lower, (4.6, 4.6, 4.6))
    yield Capsule(upper, lower, (2.6, 2.6, 2.6))
    yield Capsule(upper, glenoid, (3.0, 3.0, 3.0))
    yield Capsule(spine, acromion, (4.5, 4.5, 4.5))
    coracoid = (glenoid[0] - 12.0, glenoid[1] - 30.0, glenoid[2] - 2.0 * side)
    yield Capsule(_between(glenoid, upper, 0.12), coracoid, (5.5, 5.5, 5.5))
    for share in np.linspace(0.05, 0.95, 26):
        inner = _between(upper, lower, float(share))
        outer = _between(glenoid, lower, float(share))
        yield Capsule(inner, outer, (9.0, 1.6, 3.0))


def _between(a: Sequence[float], b: Sequence[float], share: float) -> Point:
    z, y, x = (start + share * (end - start) for start, end in zip(a, b, strict=True))
    return z, y, x
