"""Which arithmetic is fastest on a device without changing what is learned.

bfloat16 pays only where the hardware multiplies it: on GPUs from Ampere on and on CPUs with
AVX512-BF16 or AMX. A CPU without them emulates it, at a fraction of float32's speed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Precision:
    """Arithmetic of the training step; weights stay float32, and so do scores and predictions."""

    device_type: str
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the networks run forward."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)


def fastest_precision(device: torch.device) -> Precision:
    """Choose bfloat16 where the device computes in it, float32 elsewhere."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        native = _cpu_multiplies_bfloat16()
    else:
        native = False
    return Precision(device.type, torch.bfloat16 if native else torch.float32)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep cuDNN from rounding to TF32, which it does by default, where scores are computed."""
    cudnn: Any = torch.backends.cudnn  # torch's own types lack `conv`
    convolutions = cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def _cpu_multiplies_bfloat16() -> bool:
    """Ask torch what the processor can do; no where this torch cannot tell."""
    ask: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = ask()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
