"""What a run was computed with: all that decides, beside its configuration, on its last bits.

Two runs of one configuration on one dataset are the same bit for bit if these values are; where
one of them differs, sums are rounded otherwise and the runs drift apart.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from platform import machine, processor
from typing import Any

import torch

from dexsearch.training.precision import Precision


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Processor, threads, precision and torch of some epochs; names no host and no person."""

    device: str
    """`cpu` or `cuda`."""
    processor: str
    """Model of the CPU, or of the GPU that computed."""
    threads: int
    """Of torch; they decide how sums on a CPU are split."""
    precision: str
    """Of the networks' forward passes, for example `bfloat16`."""
    torch: str
    """Version of torch."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` takes them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Arithmetic":
        """Rebuild from `as_dict`.

        Raises:
            ValueError: if a key is missing or of another type.
        """
        kinds = {field.name: int if field.name == "threads" else str for field in fields(cls)}
        for name, kind in kinds.items():
            if type(values.get(name)) is not kind:
                raise ValueError(f"{name!r} cannot be {values.get(name)!r}")
        return cls(**{name: values[name] for name in kinds})


def arithmetic_here(device: torch.device, precision: Precision) -> Arithmetic:
    """Return what this process computes with on a device."""
    name = processor_name() if device.type == "cpu" else torch.cuda.get_device_name(device)
    return Arithmetic(
        device=device.type,
        processor=name,
        threads=torch.get_num_threads(),
        precision=str(precision.dtype).removeprefix("torch."),
        torch=torch.__version__,
    )


def processor_name() -> str:
    """Return the model of this machine's CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else processor() or machine()
