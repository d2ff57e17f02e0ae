"""Import foreign image pairs into a dataset folder.

Images of different sizes keep their pixel scale: all are padded with their own background to
one common square, then shrunk with anti-aliasing to the size asked for. Pixel values keep the
unit that they have in the files, and their direction: xray_GAN's 10 ln(..) is low where dense.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dexsearch.data.body_mask import background, body_mask
from dexsearch.data.foreign import Folders, ForeignPair, FoundPairs, find_pairs
from dexsearch.data.foreign_contents import content_sha256, hash_files, notes_on_twins
from dexsearch.data.samples import refusal_of_view
from dexsearch.data.split_file import read_split_file
from dexsearch.data.splits import Split, split_poses, split_subjects
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.errors import DataError
from dexsearch.images.reading import read_image

__all__ = ["background", "body_mask", "import_pairs", "load_sample", "pad_square", "shrink"]

MIN_SIZE_PX, MAX_SIZE_PX = 16, 2048
FEWEST_SUBJECTS = 3

_BATCH = 16  # images between two entries of the journal

Progress = Callable[[int, int], None]
Tell = Callable[[str], None]


def import_pairs(
    path: Path,
    folders: Folders,
    *,
    size_px: int = 256,
    subject_pattern: str | None = None,
    split: Split | Path | None = None,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Import all pairs, split by subject, or one volume in blocks of poses with guard bands.

    An import that was interrupted continues where it stopped.

    Args:
        path: dataset folder to make.
        folders: where the kinds of images lie.
        size_px: side of the square images of the dataset.
        subject_pattern: regular expression whose one group names the subject, see `find_pairs`.
        split: which subset each subject belongs to, or the file that says so (`split_file`);
            otherwise drawn with seed 0.
        tell: is given what the user should know, one line each, before pixels are read.
        progress: called with the number of images done and their total.

    Raises:
        DataError: naming the file that cannot be used and what to do; nothing is written then.
        ConfigurationError: on a pattern that cannot be used.
    """
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise DataError(
            f"got a size of {size_px} px; images have {MIN_SIZE_PX} to {MAX_SIZE_PX} px a side"
        )
    found = find_pairs(folders, subject_pattern=subject_pattern)
    chosen = split if isinstance(split, Split) else _split_of(found, split)
    for pair in found.pairs:
        chosen.subset(pair.subject, pair.pose_deg)  # refuses subjects that the split lacks
    hashes = hash_files(found.pairs)
    for note in (*found.notes, *notes_on_twins(found.pairs, hashes)):
        if tell is not None:
            tell(note)
    common_px = max(max(pair.size_px) for pair in found.pairs)

    def batches(n_done: int) -> Iterator[Sequence[Sample]]:
        return _batches(found.pairs, n_done, common_px, size_px, progress)

    return write_dataset(
        path,
        batches,
        chosen,
        kind="import",
        pixel_mm=found.pixel_mm and found.pixel_mm * common_px / size_px,
        units=dict.fromkeys(found.kinds, "as imported"),
        source={
            "layout": "folders of equal names",
            "subjects_by": found.identities.rule,
            "n_images": len(found.pairs),
            "content_sha256": content_sha256(found.pairs, hashes),
            "common_px": common_px,
            "size_px": size_px,
        },
        n_expected=len(found.pairs),
    )


def _batches(
    pairs: Sequence[ForeignPair],
    n_done: int,
    common_px: int,
    size_px: int,
    progress: Progress | None,
) -> Iterator[Sequence[Sample]]:
    """Yield the samples of all pairs after the first `n_done` batches."""
    for start in range(n_done * _BATCH, len(pairs), _BATCH):
        batch = []
        for count, pair in enumerate(pairs[start : start + _BATCH], start=start + 1):
            batch.append(load_sample(pair, common_px=common_px, size_px=size_px))
            if progress is not None:
                progress(count, len(pairs))
        yield batch


def load_sample(pair: ForeignPair, *, common_px: int, size_px: int) -> Sample:
    """Read, pad and shrink the images of one pair, and find the body in them.

    Raises:
        DataError: if a file cannot be read, all its pixels are equal, or what differs from its
            background is too small to be scored.
    """
    images = {kind: read_image(path) for kind, path in pair.paths().items()}
    for kind, image in images.items():
        if image.min() == image.max():
            raise DataError(
                f"{pair.paths()[kind]}: every pixel is {image.flat[0]:g}; there is nothing in "
                "view",
                hint="remove the images of this name, or make them again",
            )
    body = pad_square(body_mask(images["input"]).astype(np.float32), common_px, value=0.0)
    squares = {
        kind: shrink(pad_square(image, common_px, value=background(image)), size_px)
        for kind, image in images.items()
    }
    sample = Sample(
        subject=pair.subject,
        pose_deg=pair.pose_deg,
        name=pair.name,
        input=squares["input"],
        bone=squares.get("bone"),
        tissue=squares.get("tissue"),
        mask=shrink(body, size_px) > 0.5,
    )
    refusal = refusal_of_view(sample)
    if refusal is not None:
        raise DataError(f"{pair.input}: {refusal}", hint=refusal.hint)
    return sample


def pad_square(image: NDArray[np.float32], side_px: int, *, value: float) -> NDArray[np.float32]:
    """Put the image into the middle of a square of one value."""
    square = np.full((side_px, side_px), value, dtype=np.float32)
    rows, columns = image.shape
    top, left = (side_px - rows) // 2, (side_px - columns) // 2
    square[top : top + rows, left : left + columns] = image
    return square


def shrink(image: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Resample a square image, averaging over what falls into one new pixel."""
    if image.shape == (side_px, side_px):
        return image
    tensor = torch.from_numpy(image)[None, None]
    resampled = functional.interpolate(
        tensor, size=(side_px, side_px), mode="bilinear", antialias=True, align_corners=False
    )
    result: NDArray[np.float32] = resampled[0, 0].numpy()
    return result


def _split_of(found: FoundPairs, file: Path | None) -> Split:
    """Read the split's file, else split by poses or subjects, whichever there are several of."""
    subjects = sorted({pair.subject for pair in found.pairs})
    poses = [pair.pose_deg for pair in found.pairs] if found.identities.one_volume else []
    if file is not None:
        return read_split_file(file, subjects=subjects, poses=poses)
    if found.identities.one_volume:
        return split_poses(poses)
    if len(subjects) < FEWEST_SUBJECTS:
        raise DataError(
            f"{len(found.pairs)} images are of {len(subjects)} subject(s) "
            f"({', '.join(subjects)}; told apart by {found.identities.rule}); a split by subject "
            f"needs at least {FEWEST_SUBJECTS}",
            hint=found.identities.remedy,
        )
    return split_subjects(subjects, seed=0)
