"""What a checkpoint costs, by the place where it is kept, beside plain writes of its bytes.

    python benchmarks/storage.py [--saves N] [--width W]

Prints medians of N saves of a joint run as `quickstart.yaml` searches it: each writes the files of
one checkpoint, the manifest and, from the third one on, deletes an older checkpoint. The S3 server
is moto's on this machine (a development dependency), in memory and in Python, so its figure is
mostly the server's; on a bucket far away it is a round trip per file more.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=15)
    parser.add_argument("--width", type=int, default=16)
    options = parser.parse_args()
    files = checkpoint_files(options.width)
    size = sum(map(len, files.values()))
    print(f"{len(files)} files, {size / 1e6:.2f} MB, median of {options.saves}")
    for name, seconds in measured(files, options.saves).items():
        print(f"{name:34} {1e3 * seconds:8.1f} ms")


def checkpoint_files(width: int) -> dict[str, bytes]:
    """Return what one checkpoint of a joint run holds."""
    import torch
    from safetensors.torch import save

    from dexsearch.config.trial import trial_config
    from dexsearch.training.networks import Networks
    from dexsearch.training.restore import tensors_of

    config = trial_config({"task": "joint", "generator.depth": 4, "generator.width": width})
    networks = Networks(config, device=torch.device("cpu"), precision=None)
    image = torch.zeros(2, 1, 64, 64)
    networks.train_step(image, torch.zeros(2, 2, 64, 64))
    parts = tensors_of(networks)
    return {f"{name}.safetensors": save({k: v.contiguous() for k, v in tensors.items()})
            for name, tensors in parts.items()} | {"state.json": b" " * 20_000}  # fmt: skip


def measured(files: dict[str, bytes], n: int) -> dict[str, float]:
    """Return the median seconds of a save, and of a read, by place."""
    from tests.s3_server import KEYS, s3_server

    os.environ.update(KEYS)
    found = {}
    with tempfile.TemporaryDirectory() as folder, s3_server() as server:
        server.bucket("benchmark")
        places = {
            "folder": f"{folder}/a",
            "file:// (not flushed)": f"file://{folder}/b",
            "s3:// (moto, this machine)": server.uri("benchmark/c"),
        }
        found["plain writes, not flushed"] = median(lambda k: plain(Path(folder, "p"), files), n)
        for name, location in places.items():
            found[f"save  {name}"], found[f"read  {name}"] = save_and_read(location, files, n)
    return found


def save_and_read(location: str, files: dict[str, bytes], n: int) -> tuple[float, float]:
    """Save n checkpoints, then read the last one n times."""
    from dexsearch.training.checkpoint_store import checkpoint_store
    from dexsearch.training.checkpoint_writer import CheckpointWriter

    store = checkpoint_store(location)
    writer = CheckpointWriter(store)
    writer.save(1, files)
    saving = median(lambda k: writer.save(k + 2, files), n)
    return saving, median(lambda k: store.files(n + 1), n)


def plain(folder: Path, files: dict[str, bytes]) -> None:
    """Write the bytes and nothing else."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def median(work: Callable[[int], object], n: int) -> float:
    """Return the median time of n calls, in seconds."""
    times = []
    for k in range(n):
        begun = time.perf_counter()
        work(k)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


if __name__ == "__main__":
    main()
