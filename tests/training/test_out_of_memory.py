"""Which errors are those of an allocator, and what is told of them."""

import subprocess
import sys

import pytest
import torch

from dexsearch.training.out_of_memory import (
    PHRASES,
    TrainingOutOfMemory,
    naming_memory,
    tells_of_memory,
)

SAID: dict[str, Exception] = {
    "out of memory": torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4 GiB"
    ),
    "can't allocate memory": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "not enough memory": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you "
        "tried to allocate 9 bytes."
    ),
    "cannot allocate memory": RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)"),
    "_status_alloc_failed": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "_allocation_failed": RuntimeError(
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
    ),
}
OTHERS = [
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "CUDA error: an illegal memory access was encountered",
    "mat1 and mat2 shapes cannot be multiplied",
]


def test_every_phrase_has_its_message_here() -> None:
    assert set(SAID) == set(PHRASES)


@pytest.mark.parametrize("phrase", PHRASES)
def test_each_phrase_alone_tells_of_memory(phrase: str) -> None:
    error = SAID[phrase]
    assert tells_of_memory(error)
    told = r"epoch 2, step 5: .*; lower"
    with pytest.raises(TrainingOutOfMemory, match=told) as caught, naming_memory(2, "step 5"):
        raise error
    assert caught.value.__cause__ is error
    assert "alloc_cpu.cpp" not in str(caught.value), "a place in torch's source helps nobody"


@pytest.mark.parametrize("library", ["CUBLAS", "CUDNN", "CUSOLVER", "CUSPARSE"])
def test_every_library_of_nvidia_is_understood(library: str) -> None:
    assert tells_of_memory(RuntimeError(f"{library}_STATUS_ALLOC_FAILED"))


def test_an_error_of_python_needs_no_words() -> None:
    with pytest.raises(TrainingOutOfMemory, match="no memory is left"), naming_memory(1, "x"):
        raise MemoryError


@pytest.mark.parametrize("message", OTHERS)
def test_another_error_passes_through(message: str) -> None:
    with pytest.raises(RuntimeError) as caught, naming_memory(1, "x"):
        raise RuntimeError(message)
    assert not isinstance(caught.value, MemoryError)


def test_a_search_can_ask_without_torch() -> None:
    told = "import dexsearch.training.out_of_memory, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
