"""Describe, check and show datasets."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.errors import EnvironmentFault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dexsearch.data.checking import CheckReport
    from dexsearch.data.store import Arrays, Dataset, ImageInfo

DEFAULT_PAIR_KVP = (60.0, 120.0)
_REASONS = {"guard_band": "guard band", "unusable": "too small"}
"""Too small: so little of the body in view that nothing lies inside the scored margin."""
_WARNING = (
    "one volume: its views are split in blocks of poses with a guard band between them, which "
    "leaks less, not nothing; scores say little about other people"
)


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a dataset holds, and what doing nothing scores on it (None: not computed).

    `baselines` are masked SSIM by method and target, `baselines_whole` the same without a mask.
    """

    path: Path
    kind: str
    images: int
    subjects: int
    size_px: tuple[int, int]
    pixel_mm: float | None
    split: dict[str, Any]
    units: dict[str, str]
    digest: str
    baselines: dict[str, dict[str, float]] | None
    baselines_whole: dict[str, dict[str, float]] | None

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
            absent = "" if subset in self.split["here"] else ", not in this copy"
            lines.append(f"           {subset:<10} {part['images']:>6} images of {people}{absent}")
        for reason, count in self.split["left_out_for"].items():
            if count:
                lines.append(f"           {_REASONS.get(reason, reason):<10} {count:>6} left out")
        if self.split["warning"]:
            lines.append(f"warning    {self.split['warning']}")
        lines.append(f"digest     {self.digest}")
        if self.baselines is not None and self.baselines_whole is not None:
            lines += _baseline_table(self.baselines, self.baselines_whole)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """A picture that was written, and how many images it shows."""

    path: Path
    images: int

    def __str__(self) -> str:
        """Return the path alone."""
        return str(self.path)


def describe(dataset: "Dataset", *, with_baselines: bool) -> DatasetInfo:
    """Count a dataset's images and subjects; check it and score the baselines where asked to."""
    manifest = dataset.manifest
    scores = None
    if with_baselines:
        from dexsearch.training.baselines import baselines

        dataset.check_files()
        scores = baselines(dataset)
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
            "here": [subset for subset in parts if (dataset.path / subset).is_dir()],
            "left_out": sum(manifest.left_out.values()),
            "left_out_for": manifest.left_out,
            "warning": _WARNING if manifest.one_volume else None,
        },
        units=manifest.units,
        digest=manifest.digest,
        baselines=scores.masked() if scores else None,
        baselines_whole=scores.whole_image if scores else None,
    )


def open_named(name: Path, workspace: Path) -> "Dataset":
    """Open a dataset by its path, or by its name in the workspace.

    Raises:
        DataError: if there is none.
    """
    from dexsearch.data.store import open_dataset

    return open_dataset(_place_of(name, workspace))


def _place_of(name: Path, workspace: Path) -> Path:
    """Return where a dataset of that name is; `name` itself where there is none."""
    from dexsearch.data.manifest import MANIFEST_NAME

    places = (name, workspace / name, workspace / "datasets" / name)
    for path in places:
        if (path / MANIFEST_NAME).is_file():
            return path
    return next((path for path in places if path.exists()), name)


def check_named(
    name: Path, workspace: Path, *, progress: Callable[[int, int], None] | None = None
) -> "CheckReport":
    """Compare every byte of a dataset with its manifest.

    Raises:
        DataError: if there is no dataset of that name, or its manifest cannot be read.
    """
    from dexsearch.data.checking import check_dataset

    return check_dataset(_place_of(name, workspace), progress=progress)


def save_split(dataset: "Dataset", path: Path) -> None:
    """Write a dataset's split to a file that `--split-file` takes.

    Raises:
        EnvironmentFault: if it cannot be written.
    """
    from dexsearch.data.split_file import split_file_of

    try:
        path.write_text(split_file_of(dataset), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write the split to {str(path)!r}: {error.strerror or error}",
            hint="name a file in a folder that exists, such as split.json",
        ) from None


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
    titles = [f"{shortened(info.subject)}\n{shortened(_seen_from(info))}" for info in shown]
    rows = [
        SheetRow(
            kind,
            dataset.manifest.units[kind],
            [_pixels(arrays[part], kind)[index].astype("float32") for part, index in chosen],
        )
        for kind in ("input", *dataset.manifest.targets)
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


def _counted(subjects: int) -> str:
    return f"{subjects} subject{'' if subjects == 1 else 's'}"


def own_pair(dataset: "Dataset") -> tuple[float, float]:
    """Return the tube voltages that a dataset's dual-energy targets were made for."""
    low, high = dataset.manifest.source.get("pair_kvp", DEFAULT_PAIR_KVP)
    return float(low), float(high)


def _seen_from(info: "ImageInfo") -> str:
    """Return the name of an image, or its pose."""
    return info.name or ", ".join(f"{round(angle) + 0}" for angle in info.pose_deg) + " degrees"


def _pixels(arrays: "Arrays", kind: str) -> "NDArray[Any]":
    return arrays.input if kind == "input" else arrays.target(kind)


def _baseline_table(
    masked: dict[str, dict[str, float]], whole: dict[str, dict[str, float]]
) -> list[str]:
    """Return the lines of a table: SSIM by method, in the mask and over the whole image."""
    targets = list(next(iter(masked.values())))
    names = "".join(f"{target:>8}" for target in targets)
    width = len(names)
    lines = [
        f"baselines  SSIM on validation images {'masked':>{width}}  {'whole':>{width}}",
        f"           {'':<26}{names}  {names}",
    ]
    for method, scores in masked.items():
        inside = "".join(f"{scores[target]:8.3f}" for target in targets)
        outside = "".join(f"{whole[method][target]:8.3f}" for target in targets)
        lines.append(f"           {method:<26}{inside}  {outside}")
    return lines
