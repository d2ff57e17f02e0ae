"""Is every byte of a dataset folder what was written? All that is wrong is found in one pass."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dexsearch.data.image_info import ImageInfo
from dexsearch.data.manifest import MANIFEST_NAME, Manifest
from dexsearch.data.manifest_reading import read_manifest
from dexsearch.data.partial import WRITING
from dexsearch.data.splits import SUBSETS, Subset

Progress = Callable[[int, int], None]
"""Called with the number of bytes read and of all bytes."""

State = Literal["ok", "missing", "wrong size", "changed", "not finite", "not here"]

_CHUNK_BYTES = 8 << 20
_N_NAMED = 3  # images or files that a message names before it counts


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What was found about one file.

    Attributes:
        file: path within the folder.
        state: the gravest of its problems; `not here` stands for a hold-out that is absent as a
            whole, as on a node, and is no problem.
        problems: all that is wrong, for people.
    """

    file: str
    state: State
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found about all files of a dataset folder."""

    path: Path
    ok: bool
    digest: str
    files: tuple[FileCheck, ...]
    unknown_files: tuple[str, ...]

    @property
    def n_problems(self) -> int:
        """Number of files with a problem."""
        return sum(bool(check.problems) for check in self.files)

    def __str__(self) -> str:
        """Return the table for people, one file a line."""
        lines = [f"dataset {self.path}"]
        for check in self.files:
            told = "not here, not checked" if check.state == "not here" else check.state
            first, *others = check.problems or (told,)
            lines.append(f"  {check.file:<24}{first}")
            lines += [f"  {'':<24}{problem}" for problem in others]
        if self.unknown_files:
            lines.append(f"  not part of the dataset: {_named(self.unknown_files)}")
        if self.ok:
            lines.append(f"every byte is what was written, digest {self.digest[:12]}")
        else:
            lines.append(f"problems in {self.n_problems} of {len(self.files)} files")
        return "\n".join(lines)


def check_dataset(path: Path, *, progress: Progress | None = None) -> CheckReport:
    """Compare every file of a dataset folder, the hold-out too, with the manifest.

    Nothing that is found hides another finding. A hold-out that is absent as a whole is reported
    as not checked.

    Raises:
        DataError: if there is no readable manifest to compare with.
    """
    manifest = read_manifest(path)
    names = [(subset, array) for subset in SUBSETS for array in manifest.arrays]
    sizes = {name: _size(path / _file(*name)) for name in names}
    here = [name for name in names if sizes[name] is not None]
    counter = _Counter(sum(size or 0 for size in sizes.values()), progress)
    checks = [_check_manifest(manifest)]
    for subset in SUBSETS:
        if subset == "holdout" and not any(found == subset for found, _ in here):
            checks.append(FileCheck(subset, "not here"))
            continue
        checks += [_check_array(path, manifest, subset, name, counter) for name in manifest.arrays]
    known = {MANIFEST_NAME, *(_file(*name) for name in names)}
    return CheckReport(
        path=path,
        ok=not any(check.problems for check in checks),
        digest=manifest.digest,
        files=tuple(checks),
        unknown_files=_unknown_files(path, known),
    )


class _Counter:
    """Adds up the bytes read and tells about them."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done = 0
        self._total = total
        self._progress = progress

    def add(self, n_bytes: int) -> None:
        self._done += n_bytes
        if self._progress is not None:
            self._progress(self._done, self._total)


def _check_manifest(manifest: Manifest) -> FileCheck:
    problems = []
    if manifest.digest != manifest.digest_of_contents:
        problems.append("changed: images, files, size or constants are not those of the digest")
    if manifest.checksum != manifest.checksum_of_contents:
        problems.append("changed: an entry is not what was written")
    return FileCheck(MANIFEST_NAME, "changed" if problems else "ok", tuple(problems))


def _check_array(
    folder: Path, manifest: Manifest, subset: Subset, array: str, counter: _Counter
) -> FileCheck:
    file = _file(subset, array)
    try:
        with (folder / file).open("rb") as stream:
            return _check_stream(stream, file, manifest, manifest.images[subset], counter)
    except FileNotFoundError:
        return FileCheck(file, "missing", ("missing",))
    except OSError as error:
        return FileCheck(file, "missing", (f"cannot be read: {error.strerror or error}",))


def _check_stream(
    stream: IO[bytes],
    file: str,
    manifest: Manifest,
    infos: tuple[ImageInfo, ...],
    counter: _Counter,
) -> FileCheck:
    problems: list[tuple[State, str]] = []
    dtype = np.dtype(manifest.arrays[Path(file).stem])
    shape = (len(infos), *manifest.size_px)
    wrong = _wrong_header(stream, shape, dtype)
    start = stream.tell()
    found_bytes = stream.seek(0, 2)
    expected_bytes = start + int(np.prod(shape)) * dtype.itemsize
    if wrong:
        problems.append(("changed", wrong))
    elif found_bytes != expected_bytes:
        problems.append(("wrong size", f"wrong size: {found_bytes} bytes, not {expected_bytes}"))
    stream.seek(0)
    sha256 = hashlib.sha256(stream.read(start))
    counter.add(start)
    spoiled: list[str] = []
    step = max(1, _CHUNK_BYTES // (int(np.prod(manifest.size_px)) * dtype.itemsize))
    chunk_bytes = step * int(np.prod(manifest.size_px)) * dtype.itemsize
    for first in range(0, found_bytes - start, chunk_bytes):
        chunk = stream.read(chunk_bytes)
        sha256.update(chunk)
        counter.add(len(chunk))
        if not wrong and dtype.kind == "f":
            images = _whole_images(chunk, dtype, manifest.size_px)
            spoiled += _not_finite(images, infos[first // chunk_bytes * step :])
    if spoiled:
        problems.append(("not finite", f"not finite: {_named(spoiled, 'images')}"))
    expected = str(manifest.files.get(file))
    if sha256.hexdigest() != expected:
        told = f"sha256 {sha256.hexdigest()[:12]}.., the manifest says {expected[:12]}.."
        problems.append(("changed", f"changed: {told}"))
    return FileCheck(
        file, problems[0][0] if problems else "ok", tuple(text for _, text in problems)
    )


def _whole_images(chunk: bytes, dtype: np.dtype[Any], size_px: tuple[int, int]) -> NDArray[Any]:
    n_images = len(chunk) // (int(np.prod(size_px)) * dtype.itemsize)
    values: NDArray[Any] = np.frombuffer(chunk, dtype, count=n_images * int(np.prod(size_px)))
    return values.reshape(n_images, *size_px)


def _wrong_header(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
    """Read the header of a .npy file and return what is wrong with it."""
    try:
        version = npy.read_magic(stream)
        if version != (1, 0):
            return f"changed: .npy version {version}, not (1, 0)"
        found_shape, fortran, found_dtype = npy.read_array_header_1_0(stream)
    except (ValueError, EOFError):  # its text quotes bytes of a file that may be any file
        return "changed: not a .npy file"
    if (found_shape, fortran, found_dtype) != (shape, False, dtype):
        return f"changed: holds {found_dtype} {found_shape}, the manifest says {dtype} {shape}"
    return None


def _not_finite(images: NDArray[Any], infos: tuple[ImageInfo, ...]) -> list[str]:
    """Name the images with NaN or infinite pixels, and the first such pixel of each."""
    found = []
    finite = np.isfinite(images)
    for index in np.flatnonzero(~finite.all(axis=(1, 2))):
        row, column = np.argwhere(~finite[index])[0]
        label = infos[index].label if index < len(infos) else "an image too many"
        value = images[index, row, column]
        found.append(f"{label} (row {row}, column {column}: {value})")
    return found


def _named(names: list[str] | tuple[str, ...], kind: str = "files") -> str:
    """List a few names and count the rest."""
    rest = len(names) - _N_NAMED
    return "; ".join(names[:_N_NAMED]) + (f"; and {rest} more {kind}" if rest > 0 else "")


def _file(subset: str, array: str) -> str:
    return f"{subset}/{array}.npy"


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _unknown_files(folder: Path, known: set[str]) -> tuple[str, ...]:
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return tuple(
        str(file) for file in found if file.as_posix() not in known and file.parts[0] != WRITING
    )
