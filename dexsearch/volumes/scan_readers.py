"""Which reader a path gets: the one place that knows the file formats by their names."""

from pathlib import Path

from dexsearch.errors import DataError
from dexsearch.volumes.dicom_series import DicomSeriesReader, split_selector
from dexsearch.volumes.metaimage import MetaImageReader
from dexsearch.volumes.nifti import NiftiReader
from dexsearch.volumes.npy_volume import NpyReader
from dexsearch.volumes.scan import ScanReader

READERS: dict[str, type[NiftiReader] | type[MetaImageReader] | type[NpyReader]] = {
    ".nii.gz": NiftiReader,
    ".nii": NiftiReader,
    ".mha": MetaImageReader,
    ".mhd": MetaImageReader,
    ".npy": NpyReader,
}
KNOWN = "a folder with a DICOM series, or a .nii, .nii.gz, .mha, .mhd or .npy file"


def open_scan(path: Path) -> ScanReader:
    """Return the reader of a volume, its header read and found sound.

    Raises:
        DataError: if there is nothing, or nothing that can be read, at `path`.
    """
    try:
        return _reader(path)
    except OSError as error:  # a name too long, a folder that may not be entered
        raise DataError(
            f"{path} cannot be read: {error.strerror}", hint="check the path"
        ) from None


def _reader(path: Path) -> ScanReader:
    ending = _ending(path)
    if ending is not None and not path.is_dir():
        if not path.is_file():
            raise DataError(f"no such CT: {path}", hint="check the path")
        return READERS[ending](path)
    folder, series = split_selector(path)
    if folder.is_dir():
        return DicomSeriesReader(folder, series=series)
    raise _unknown(path)


def scan_name(path: Path) -> str:
    """Return the name of a file without its ending, or that of a DICOM series' folder.

    Raises:
        DataError: if the path can be no volume.
    """
    ending = _ending(path)
    if ending is not None and not path.is_dir():
        return path.name[: -len(ending)]
    folder, series = split_selector(path)
    if not folder.is_dir():
        raise _unknown(path)
    return folder.resolve().name + (f"-{series}" if series else "")


def _ending(path: Path) -> str | None:
    name = path.name.lower()
    return next((ending for ending in READERS if name.endswith(ending)), None)


def _unknown(path: Path) -> DataError:
    if not path.exists():
        return DataError(f"no such CT: {path}", hint=f"check the path; give {KNOWN}")
    return DataError(
        f"{path} is no volume that can be read",
        hint=f"give {KNOWN}; of a DICOM series give the folder, not one file",
    )
