"""Time and memory of `dexsearch predict` on a large DICOM image, beside a plain forward pass.

    python benchmarks/predict.py [--size 2048] [--threads 2]

The whole command is measured, from starting Python to two DICOM objects on the disk; the image is
predicted at its full size. The peer reads the same file, runs the same network once over the
whole image in plain torch and writes one .npy, in a process of its own too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForProcessing, ExplicitVRLittleEndian, generate_uid
from safetensors.torch import save

from dexsearch.config.trial import TrialConfig
from dexsearch.images.reading import read_image
from dexsearch.inference.package import GeneratorCard, open_package, write_package
from dexsearch.inference.predict import load_predictor, match_grey_levels
from dexsearch.models.generator import build_generator

GENERATORS = {
    "default: depth 4, width 16, batch norm": {},
    "wide: depth 5, width 64, batch norm": {"depth": 5, "width": 64},
    "depth 4, width 32, instance norm": {"width": 32, "norm": "instance"},
}
PIXEL_MM = 0.2


def main() -> None:
    """Measure every generator of `GENERATORS`, each time the command and its peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(*options.peer)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = save_radiograph(folder / "chest.dcm", options.size)
        print(f"DICOM image of {options.size} x {options.size}, {options.threads} threads")
        for number, (label, values) in enumerate(GENERATORS.items()):
            package = save_package(folder / f"generator-{number}", values)
            out = folder / f"out-{number}"
            command = [str(Path(sys.executable).with_name("dexsearch")), "predict", str(package),
                       str(image), str(out), "--workspace", str(folder / "w")]  # fmt: skip
            peer = [sys.executable, __file__, "--peer", str(package), str(image),
                    str(folder / "peer.npy")]  # fmt: skip
            ours, theirs = measured(command, environment), measured(peer, environment)
            error = np.abs(read_image(out / "chest_bone.dcm") - np.load(folder / "peer.npy"))
            print(
                f"{label}: {ours}; plain torch: {theirs}; "
                f"{ours.seconds / theirs.seconds:.2f}x the time, "
                f"{ours.cpu_seconds / theirs.cpu_seconds:.2f}x the CPU time, "
                f"{ours.gib / theirs.gib:.2f}x the memory; "
                f"largest difference {error.max():.1e} cm",
                flush=True,
            )


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command took; CPU time tells where other programs were in the way."""

    seconds: float
    cpu_seconds: float
    gib: float
    """Largest resident memory."""

    def __str__(self) -> str:
        """Return one phrase."""
        return f"{self.seconds:.1f} s ({self.cpu_seconds:.1f} s of CPU), {self.gib:.2f} GiB"


def measured(command: list[str], environment: dict[str, str]) -> Taken:
    """Run a command and return what it took."""
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - begin
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


def run_peer(package: Path, image: Path, output: Path) -> None:
    """Run the network once over the whole image and write its first target."""
    predictor = load_predictor(open_package(package))
    known = predictor.normalization
    signal = torch.from_numpy(match_grey_levels(read_image(image), known))[None, None]
    with torch.inference_mode():
        predicted = predictor.generator((signal - known.mean) / known.std)
    np.save(output, predicted[0, 0].numpy() * known.data_ranges[0])


def save_package(path: Path, generator: dict[str, object]) -> Path:
    """Write an untrained joint generator; time does not depend on what it has learned."""
    config = TrialConfig.model_validate({"generator": {"output": "plain", **generator}})
    built = build_generator(config.generator, n_targets=2)
    card = GeneratorCard(
        task="joint", targets=("bone", "tissue"), trial_config=config.model_dump(mode="json"),
        normalization={"mode": "absolute", "mean": 3.3, "std": 1.2, "data_ranges": [1.3, 27.0]},
        units={"input": "-ln(I/I0)", "bone": "cm", "tissue": "cm"}, study="benchmark", trial=0,
        params={}, objective="val_ssim", epochs=1, n_parameters=1, dataset="d",
        size_px=(256, 256), pixel_mm=PIXEL_MM, metric=1, scores={"val_ssim": 0.5}, baselines={},
        libraries={},
    )  # fmt: skip
    weights = save({name: value.contiguous() for name, value in built.state_dict().items()})
    write_package(path, weights=weights, card=card, curve=[], draw=lambda folder: None)
    return path


def save_radiograph(path: Path, size_px: int) -> Path:
    """Write a DX image FOR PROCESSING of a body with ribs, 14 bits."""
    y, x = np.mgrid[:size_px, :size_px] / size_px - 0.5
    body = 5 * np.sqrt(np.clip(1 - (x / 0.45) ** 2 - (y / 0.48) ** 2, 0, None))
    signal = body + 0.8 * (np.sin(40 * y + 6 * x**2) > 0.8) * (np.abs(x) < 0.3)
    noise = 1 + 0.01 * np.random.default_rng(0).normal(size=signal.shape)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForProcessing
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID,
    )  # fmt: skip
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.PresentationIntentType = "DX", "FOR PROCESSING"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LIN", 1
    dataset.ImagerPixelSpacing = [str(PIXEL_MM)] * 2
    dataset.Rows = dataset.Columns = size_px
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 14, 13
    dataset.PixelRepresentation = 0
    counts = np.clip(16383 * np.exp(-signal) * noise, 0, 16383)
    dataset.PixelData = counts.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


if __name__ == "__main__":
    main()
