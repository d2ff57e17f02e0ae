"""The table of SECURITY.md as tests: what an attacker may hand over, through the command line.

Each case makes one hostile input. The command must refuse it with the exit code of its kind, in
printable lines, without a traceback, and nothing that the input carries may run.
"""

import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dexsearch.cli.app import main
from dexsearch.data.store import Dataset

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
CONFIGURATION, ENVIRONMENT, DATA = 3, 4, 7
MARK = "it-ran"
Make = Callable[[Path, Dataset], list[str]]
"""Writes the input into a folder, given a good dataset to spoil; returns the command."""


class Burglar:
    """An object whose unpickling makes a folder named `MARK` in the current folder."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, (MARK,))


def _space(text: str) -> Make:
    def make(folder: Path, dataset: Dataset) -> list[str]:
        (folder / "space.yaml").write_text(text)
        return ["tune", "--space", str(folder / "space.yaml"), "--workspace", str(folder / "w")]

    return make


def _bomb() -> str:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(["a0: &a0 [lol]", *levels])


def _arrays(write: Callable[[Path], None], command: str = "check") -> Make:
    """A copy of a dataset in which `write` replaces an array file, for a command of `data`."""

    def make(folder: Path, dataset: Dataset) -> list[str]:
        copied = Path(shutil.copytree(dataset.path, folder / "dataset"))
        write(sorted(copied.rglob("input.npy"))[-1])
        return ["data", command, str(copied)]

    return make


def _pickled_array(path: Path) -> None:
    path.unlink()
    np.save(path, np.array([Burglar()], dtype=object), allow_pickle=True)


def _link_to_secrets(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _manifest(change: Callable[[dict[str, object]], None]) -> Make:
    def make(folder: Path, dataset: Dataset) -> list[str]:
        copied = Path(shutil.copytree(dataset.path, folder / "dataset"))
        manifest = json.loads((copied / "manifest.json").read_text())
        change(manifest)
        (copied / "manifest.json").write_text(json.dumps(manifest))
        return ["data", "check", str(copied)]

    return make


def _name_a_file_outside(manifest: dict[str, object]) -> None:
    files = manifest["files"]
    assert isinstance(files, dict)
    files["../../../../etc/passwd"] = files.pop(next(iter(files)))


def _claim_absurd_sizes(manifest: dict[str, object]) -> None:
    manifest["size_px"] = [10**9, 10**9]


def _dataset_of_brackets(folder: Path, dataset: Dataset) -> list[str]:
    (folder / "manifest.json").write_text("[" * 100_000)
    return ["data", "info", str(folder)]


def _image(name: str, write: Callable[[Path], None]) -> Make:
    """An image to be imported as pairs."""

    def make(folder: Path, dataset: Dataset) -> list[str]:
        for kind in ("input", "bone", "tissue"):
            (folder / "source" / kind).mkdir(parents=True)
            write(folder / "source" / kind / name)
        return ["data", "import", str(folder / "source"), str(folder / "out")]

    return make


def _png_bomb(path: Path) -> None:
    """A picture of 60000 x 60000 pixels in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    content = zlib.compress(bytes(60001) * 200, 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def _npy_of_objects(path: Path) -> None:
    np.save(path, np.array([Burglar()], dtype=object), allow_pickle=True)


def _bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Burglar()))


def _archive_that_climbs(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../../{MARK}/x.npy", b"x")


def _dicom(path: Path) -> None:
    """Rows and columns of 65535, a name with control characters, hardly any pixels."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, DigitalXRayImageStorageForProcessing, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForProcessing
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    image.PatientName, image.PatientID = "a", "p"
    image.Rows = image.Columns = 65535
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.SamplesPerPixel, image.PixelRepresentation = 1, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = bytes(64)
    image.save_as(path)


def _model(write: Callable[[Path], None]) -> Make:
    """A folder that says it is a generator."""

    def make(folder: Path, dataset: Dataset) -> list[str]:
        (folder / "model").mkdir()
        write(folder / "model")
        np.save(folder / "x.npy", np.zeros((32, 32), np.float32))
        return ["predict", str(folder / "model"), str(folder / "x.npy"), str(folder / "out")]

    return make


def _pickle_for_weights(model: Path) -> None:
    (model / "weights.safetensors").write_bytes(pickle.dumps(Burglar()))
    (model / "manifest.json").write_text('{"format": 2, "files": {}}')


def _manifest_that_climbs(model: Path) -> None:
    (model / "manifest.json").write_text('{"format": 2, "files": {"../../secret": "0"}}')


def _deep_json(model: Path) -> None:
    (model / "manifest.json").write_text("[" * 100_000)


CASES: dict[str, tuple[Make, int]] = {
    "space: a tag that calls a function": (
        _space(f"task: !!python/object/apply:os.mkdir [{MARK}]"), CONFIGURATION,
    ),
    "space: aliases that grow to gigabytes": (_space(_bomb()), CONFIGURATION),
    "space: brackets without end": (_space("[" * 50_000), CONFIGURATION),
    "space: control characters in a key": (_space(f'"{ESCAPE!r}": 1'), CONFIGURATION),
    "space: a name that leaves the workspace": (
        _space("task: bone\ntrials: 1\nepochs: 9\ndata: {path: ../../../etc}\nsearch: {}\n"), DATA,
    ),
    "dataset: pickled objects for an array": (_arrays(_pickled_array), DATA),
    "dataset: a link to another file": (_arrays(_link_to_secrets), DATA),
    "dataset: an archive for an array": (_arrays(_archive_that_climbs, "info"), DATA),
    "dataset: a manifest that names a file outside": (_manifest(_name_a_file_outside), DATA),
    "dataset: a manifest of absurd sizes": (_manifest(_claim_absurd_sizes), DATA),
    "dataset: a manifest of brackets without end": (_dataset_of_brackets, DATA),
    "image: a bomb of 60000 x 60000 pixels": (_image("a.png", _png_bomb), DATA),
    "image: an array of objects": (_image("a.npy", _npy_of_objects), DATA),
    "image: a bare pickle": (_image("a.npy", _bare_pickle), DATA),
    "image: an archive whose members climb out": (_image("a.npy", _archive_that_climbs), DATA),
    "image: a DICOM that claims 65535 x 65535": (_image("a.dcm", _dicom), DATA),
    "generator: a pickle for weights": (_model(_pickle_for_weights), DATA),
    "generator: a manifest that names a file outside": (_model(_manifest_that_climbs), DATA),
    "generator: JSON without end": (_model(_deep_json), DATA),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_input_is_refused_and_nothing_of_it_runs(
    case: str,
    tmp_path: Path,
    exposed_cohort: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, exit_code = CASES[case]
    folder = tmp_path / "in" / "side"
    folder.mkdir(parents=True)
    arguments = make(folder, exposed_cohort)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DEXSEARCH_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setattr(sys, "argv", ["dexsearch", *arguments])
    with pytest.raises(SystemExit) as refused:
        main()
    printed = capsys.readouterr()
    told = printed.out + printed.err
    assert refused.value.code == exit_code, told
    assert told
    assert "Traceback" not in told
    assert all(line.isprintable() for line in told.splitlines()), told
    assert not list(tmp_path.rglob(MARK))
    assert "root:" not in told


def test_every_case_has_its_row_in_the_document() -> None:
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    assert [case for case in CASES if case.split(": ")[1] not in text] == []
