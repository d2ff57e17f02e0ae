"""Which images `dexsearch predict` is given, and where what it makes of them goes.

A folder is searched with all its subfolders; what is made keeps its place in them. Hidden files
and folders are passed over, and so are the output folder where it lies inside and what earlier
commands made, by their journals. Files that no name and no DICOM mark tells to be an image are
counted, not refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.images.reading import DICOM_SUFFIX, SUFFIXES, image_suffix, is_image
from dexsearch.jobs.predict_journal import JOURNAL_NAME, Journal

KINDS = ("same", "npy", "png", "tiff", "dicom")
_KIND_OF_SUFFIX = {".npy": "npy", ".png": "png", ".tif": "tiff", ".tiff": "tiff",
                   DICOM_SUFFIX: "dicom"}  # fmt: skip
_SUFFIXES_OF_KIND = {"npy": (".npy", ".png"), "png": (".png",), "tiff": (".tif",),
                     "dicom": (DICOM_SUFFIX,)}  # fmt: skip
_NAMED_FILES = (".npy", ".png", ".tif", ".tiff", DICOM_SUFFIX)


@dataclass(frozen=True, slots=True)
class Item:
    """One input, and the path that `_bone.npy` is appended to."""

    source: Path
    name: str
    """Of the input, for messages and the journal: relative to the folder that was given."""
    stem: Path

    def kind(self, wanted: str) -> str:
        """Return the kind of file that is written: the wanted one, or that of the input.

        Raises:
            DataError: if the input is missing or no image, or if DICOM is wanted of another kind.
        """
        own = _KIND_OF_SUFFIX[image_suffix(self.source)]
        if wanted == "dicom" and own != "dicom":
            raise DataError(
                f"{self.source}: a DICOM image can be made from DICOM images only, which know the "
                "patient and the study",
                hint="leave --kind out",
            )
        return own if wanted == "same" else wanted

    def files(self, target: str, kind: str) -> tuple[Path, ...]:
        """Return the files of one target, numbers first."""
        return tuple(
            self.stem.with_name(f"{self.stem.name}_{target}{suffix}")
            for suffix in _SUFFIXES_OF_KIND[kind]
        )

    @property
    def comparison(self) -> Path:
        """Return the picture of input and targets side by side."""
        return self.stem.with_name(f"{self.stem.name}_compare.png")


def single_item(image: Path, output: Path) -> Item:
    """Return the one input: into a folder, or as PATH/STEM.npy."""
    if output.suffix.lower() in _NAMED_FILES and not output.is_dir():
        return Item(image, image.name, output.with_suffix(""))
    _refuse_no_folder(output)
    return Item(image, image.name, output / _stem(image))


def folder_items(folder: Path, output: Path) -> tuple[tuple[Item, ...], int]:
    """Return the images of a folder in order of their names, and how many files are none.

    Raises:
        ConfigurationError: if the output is the folder itself, or a file.
        DataError: if the folder has no image.
    """
    _refuse_no_folder(output)
    if output.resolve() == folder.resolve():
        raise ConfigurationError(
            f"got {str(folder)!r} as the folder of the images and of what is made of them",
            hint="name another folder; one inside will do",
        )
    paths = sorted(_files_below(folder, output.resolve()))
    images = [path for path in paths if is_image(path)]
    if not images:
        raise DataError(
            f"{folder}: none of its {len(paths)} files is an image; known formats: "
            f"{', '.join(SUFFIXES)}, and files of any name with the DICOM mark",
            hint="name a folder with images, or one image",
        )
    items = []
    for path in images:
        place = path.relative_to(folder)
        items.append(Item(path, str(place), output / place.parent / _stem(path)))
    return tuple(items), len(paths) - len(images)


def refuse_clashes(
    item: Item, files: Sequence[Path], sources: frozenset[Path], taken: dict[Path, str]
) -> None:
    """Refuse an output that is an input, or that an earlier input of the same stem has made.

    Raises:
        DataError: naming both.
    """
    for file in files:
        if file.resolve() in sources:
            raise DataError(
                f"{item.source}: its {file.name} would replace an input, {str(file)!r}",
                hint="name another output",
            )
        if file in taken:
            raise DataError(
                f"{item.source}: its {file.name} would replace that of {taken[file]}",
                hint="predict it by itself into another folder",
            )
    taken.update(dict.fromkeys(files, item.name))


def _files_below(
    folder: Path, output: Path, made: frozenset[Path] = frozenset()
) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders; neither hidden nor predicted ones."""
    if (folder / JOURNAL_NAME).is_file():
        made |= Journal(folder).files()
    for path in folder.iterdir():
        if path.name.startswith((".", JOURNAL_NAME)) or path in made or path.resolve() == output:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path, output, made)
        elif path.is_file():
            yield path


def _stem(path: Path) -> str:
    """Return a name without its suffix, if it has a known one; DICOM names are full of dots."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def _refuse_no_folder(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise ConfigurationError(
            f"{str(output)!r} is a file; what is predicted goes into a folder",
            hint="name a folder, or for one image PATH/STEM.npy",
        )
