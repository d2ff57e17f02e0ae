"""Make, import, describe and show datasets."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dexsearch.config.data import PhantomDataConfig
from dexsearch.errors import ConfigurationError

if TYPE_CHECKING:
    from dexsearch.data.manifest import Manifest
    from dexsearch.data.store import Dataset

Progress = Callable[[int, int], None]

SHEET_COLUMNS = 8
N_XRAY_GAN_POSES = 900
SHEET_KINDS = ("input", "bone", "tissue")
_WARNING = (
    "one volume: its views are split in blocks of poses with a guard band between them, which "
    "leaks less, not nothing; scores say little about other people"
)


@dataclass(frozen=True, slots=True)
class Beam:
    """The single-energy exposure of simulated images.

    Attributes:
        kvp: tube voltage, 60..140.
        dose_mas: exposure per view.
        geometry: parallel or cone beam.
        scatter: scatter-to-primary ratio; 0 none, 0.5 with a grid, 2 without.
    """

    kvp: float = 120.0
    dose_mas: float = 0.1
    geometry: Literal["parallel", "cone"] = "parallel"
    scatter: float = 0.0


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a dataset holds, and what doing nothing scores on it (None: not computed)."""

    path: Path
    kind: str
    images: int
    subjects: int
    size_px: tuple[int, int]
    pixel_mm: float | None
    split: dict[str, Any]
    digest: str
    baselines: dict[str, dict[str, float]] | None

    def __str__(self) -> str:
        """Return the text for people."""
        rows, columns = self.size_px
        pixel = f", {self.pixel_mm:.3g} mm per pixel" if self.pixel_mm else ""
        lines = [
            f"{self.kind} dataset {self.path}",
            f"images     {self.images} of {_counted(self.subjects)}, {rows} x {columns} px{pixel}",
            f"split      {self.split['rule']}",
        ]
        for subset in ("train", "validation", "holdout"):
            part = self.split[subset]
            people = _counted(part["subjects"])
            lines.append(f"           {subset:<10} {part['images']:>6} images of {people}")
        if self.split["left_out"]:
            lines.append(f"           guard band {self.split['left_out']:>6} images left out")
        if self.split["warning"]:
            lines.append(f"warning    {self.split['warning']}")
        lines.append(f"digest     {self.digest}")
        if self.baselines is not None:
            lines.append("baselines  masked SSIM on validation images    bone  tissue")
            lines += [
                f"           {method:<35}{scores['bone']:6.3f}  {scores['tissue']:6.3f}"
                for method, scores in self.baselines.items()
            ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """A picture that was written, and how many images it shows."""

    path: Path
    images: int

    def __str__(self) -> str:
        """Return the path alone."""
        return str(self.path)


def make_phantom(
    path: Path,
    cohort: PhantomDataConfig,
    *,
    beam: Beam | None = None,
    progress: Progress | None = None,
) -> "Dataset":
    """Make a cohort of procedural thoraxes, or return it where it is already."""
    from dexsearch.data.generate import generate_phantom

    beam = beam or Beam()
    return generate_phantom(
        path,
        subjects=cohort.subjects,
        poses=cohort.poses if isinstance(cohort.poses, int) else 900,
        size_px=cohort.size_px,
        seed=cohort.seed,
        kvp=beam.kvp,
        dose_mas=beam.dose_mas,
        geometry=beam.geometry,
        scatter=beam.scatter,
        progress=progress,
    )


def make_from_ct(
    path: Path,
    sources: list[Path],
    *,
    poses: str,
    size_px: int,
    seed: int = 0,
    ct_kvp: float = 120.0,
    beam: Beam | None = None,
    progress: Progress | None = None,
) -> "Dataset":
    """Make a dataset from CT volumes; `poses` is a number of views, or `xray-gan`."""
    from dexsearch.data.generate import generate_ct

    beam = beam or Beam()
    return generate_ct(
        path,
        sources,
        poses=_poses(poses),
        size_px=size_px,
        seed=seed,
        kvp=beam.kvp,
        ct_kvp=ct_kvp,
        dose_mas=beam.dose_mas,
        geometry=beam.geometry,
        scatter=beam.scatter,
        progress=progress,
    )


def import_dataset(
    path: Path,
    source: Path,
    *,
    size_px: int,
    input_dir: Path | None = None,
    bone_dir: Path | None = None,
    tissue_dir: Path | None = None,
    progress: Progress | None = None,
) -> "Dataset":
    """Import foreign pairs from the three folders in `source`."""
    from dexsearch.data.foreign import find_folders
    from dexsearch.data.importing import import_pairs

    folders = find_folders(source, input_dir=input_dir, bone_dir=bone_dir, tissue_dir=tissue_dir)
    return import_pairs(path, folders, size_px=size_px, progress=progress)


def describe(dataset: "Dataset", *, with_baselines: bool) -> DatasetInfo:
    """Count a dataset's images and subjects; check it and score the baselines where asked to."""
    manifest = dataset.manifest
    scores = None
    if with_baselines:
        from dexsearch.training.baselines import baselines

        dataset.check_files()
        scores = baselines(dataset).masked()
    parts = {
        subset: {"images": len(infos), "subjects": len(manifest.subjects(subset))}
        for subset, infos in manifest.images.items()
    }
    names = {info.subject for infos in manifest.images.values() for info in infos}
    return DatasetInfo(
        path=dataset.path,
        kind=manifest.kind,
        images=manifest.n_images,
        subjects=len(names),
        size_px=manifest.size_px,
        pixel_mm=manifest.pixel_mm,
        split={
            "rule": manifest.split_rule,
            **parts,
            "left_out": _asked_for(manifest) - manifest.n_images,
            "warning": _WARNING if manifest.one_volume else None,
        },
        digest=manifest.digest,
        baselines=scores,
    )


def open_named(name: Path, workspace: Path) -> "Dataset":
    """Open a dataset by its path, or by its name in the workspace.

    Raises:
        DataError: if there is none.
    """
    from dexsearch.data.manifest import MANIFEST_NAME
    from dexsearch.data.store import open_dataset

    places = (name, workspace / name, workspace / "datasets" / name)
    for path in places:
        if (path / MANIFEST_NAME).is_file():
            return open_dataset(path)
    return open_dataset(next((path for path in places if path.exists()), name))


def show_dataset(dataset: "Dataset", out: Path | None, *, n_images: int) -> ContactSheet:
    """Write a contact sheet of training and validation images, evenly over the dataset."""
    from dexsearch.figures.canvas import shortened
    from dexsearch.figures.contact_sheet import SheetRow, write_contact_sheet

    arrays = [dataset.arrays("train"), dataset.arrays("validation")]
    infos = dataset.manifest.images
    places = [(part, index) for part in (0, 1) for index in range(len(arrays[part].mask))]
    n_columns = min(n_images, len(places))
    chosen = [places[int((k + 0.5) * len(places) / n_columns)] for k in range(n_columns)]
    shown = [(infos["train"], infos["validation"])[part][index] for part, index in chosen]
    titles = [
        f"{shortened(info.subject)}\n"
        f"{', '.join(f'{angle:.0f}' for angle in info.pose_deg)} degrees"
        for info in shown
    ]
    rows = [
        SheetRow(kind, unit, [getattr(arrays[part], kind)[index] for part, index in chosen])
        for kind, unit in ((kind, dataset.manifest.units[kind]) for kind in SHEET_KINDS)
    ]
    heading = f"{dataset.path.name}: {n_columns} of {dataset.manifest.n_images} images"
    path = out or dataset.path.with_name(f"{dataset.path.name}.png")
    write_contact_sheet(
        path,
        rows,
        column_titles=titles,
        heading=heading,
        masks=[arrays[part].mask[index] for part, index in chosen],
    )
    return ContactSheet(path=path, images=n_columns)


def _asked_for(manifest: "Manifest") -> int:
    """Return the number of images that the dataset was made from."""
    source = manifest.source
    if not manifest.one_volume:
        return manifest.n_images
    if manifest.kind == "ct":
        poses = source["poses"]
        return len(source["files"]) * (N_XRAY_GAN_POSES if poses == "xray-gan" else int(poses))
    return int(source.get("n_images", manifest.n_images))


def _counted(subjects: int) -> str:
    return f"{subjects} subject{'' if subjects == 1 else 's'}"


def _poses(text: str) -> int | Literal["xray-gan"]:
    if text == "xray-gan":
        return "xray-gan"
    if not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise ConfigurationError(
            f"got --poses {text!r}; give a number of views from 1 to 10000, or xray-gan"
        )
    return int(text)
