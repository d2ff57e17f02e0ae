"""Where a volume comes from: small to send to another process, the same volume wherever it loads.

A loaded volume is kept ready for many views: projector and field of view are set up once.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from dexsearch.physics.projection import Projector, build_projector
from dexsearch.physics.validity import ScanEnds
from dexsearch.volumes.cirs import cirs_like
from dexsearch.volumes.ct import load_ct
from dexsearch.volumes.phantom import phantom_subject
from dexsearch.volumes.subject import Subject


@dataclass(frozen=True, slots=True)
class PhantomSource:
    """Subject `index` of the procedural cohort `seed`."""

    seed: int
    index: int
    voxel_mm: float

    def load(self) -> Subject:
        """Draw the subject."""
        return phantom_subject(self.seed, self.index, voxel_mm=self.voxel_mm)


@dataclass(frozen=True, slots=True)
class CirsSource:
    """The plastic phantom of xray_GAN's kind."""

    voxel_mm: float

    def load(self) -> Subject:
        """Build the phantom."""
        return cirs_like(voxel_mm=self.voxel_mm)


@dataclass(frozen=True, slots=True)
class CtSource:
    """The CTs of one patient, one for each tube voltage."""

    name: str
    """Of the subject; two files may be called alike."""
    paths: tuple[Path, ...]
    kvp: tuple[float, ...]
    voxel_mm: float
    bone_mask: Path | None = None

    def load(self) -> Subject:
        """Read the CTs."""
        subject = load_ct(
            self.paths, kvp=self.kvp, voxel_mm=self.voxel_mm, bone_mask=self.bone_mask
        )
        return replace(subject, name=self.name)


VolumeSource = PhantomSource | CirsSource | CtSource


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A subject with what its views need; made once for all of them, and itself a cache key."""

    subject: Subject
    lengths: Projector
    """Path lengths of soft tissue and cortical bone."""
    ends: ScanEnds
    parity: bool
    """Whether views are turned as xray_GAN turns them."""


@functools.lru_cache(maxsize=1)
def load_volume(source: VolumeSource, *, parity: bool) -> Volume:
    """Load a volume; the last one is kept, because its views come in several tasks."""
    subject = source.load()
    return Volume(
        subject=subject,
        lengths=build_projector(
            subject.soft,
            subject.bone,
            voxel_mm=subject.voxel_mm,
            kind="parity" if parity else "auto",
        ),
        ends=ScanEnds(subject.soft, subject.bone, voxel_mm=subject.voxel_mm),
        parity=parity,
    )
