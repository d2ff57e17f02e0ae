"""Trial functions with invented curves; workers import them by name (PYTHONPATH), so no pytest."""

import errno
import importlib
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from dexsearch.config.trial import TrialConfig
from dexsearch.errors import DataError
from dexsearch.search.trial import Assignment, Record


def value_at(assignment: Assignment, epoch: int) -> float:
    """A rising curve whose height depends on the parameters."""
    config = TrialConfig.model_validate(assignment.config)
    height = abs(math.log10(config.optimizer.learning_rate) + 3) / 5 + config.generator.depth / 99
    return 1 - 0.5 * math.exp(-epoch / 5) - height


def rising(assignment: Assignment) -> Iterator[Record]:
    """Continue from the newest checkpoint, which is an empty folder; sleep as the test asks."""
    folder = Path(assignment.checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    trained = max((int(path.name) for path in folder.glob("0*")), default=0)
    for epoch in range(1, assignment.epochs + 1):
        if epoch > trained:
            time.sleep(float(os.environ.get("DEXSEARCH_TEST_EPOCH_S", "0")))
            (folder / f"{epoch:05d}").mkdir(exist_ok=True)
            with (folder / "trained.txt").open("a") as file:
                file.write(f"{epoch}\n")
        yield {"epoch": epoch, "val_ssim": value_at(assignment, epoch), "seconds": 0.0}


def failing(assignment: Assignment) -> Iterator[Record]:
    """Every fourth trial is good; the others fail each in its own way."""
    for record in rising(assignment):
        if record["epoch"] == 2 and assignment.number % 4 == 1:
            raise RuntimeError("no such kernel\nin two lines")
        if record["epoch"] == 2 and assignment.number % 4 == 2:
            record["val_ssim"] = float("nan")
        if record["epoch"] == 2 and assignment.number % 4 == 3:
            raise MemoryError("CUDA out of memory")
        yield {**record, "val_psnr": float("inf")}


def without_data(assignment: Assignment) -> Iterator[Record]:
    """The dataset is gone."""
    raise DataError("datasets/x: bone.npy is missing")
    yield {}


def short(assignment: Assignment) -> Iterator[Record]:
    """End two epochs early."""
    for record in rising(assignment):
        if record["epoch"] > assignment.epochs - 2:
            return
        yield record


def killed_once(assignment: Assignment) -> Iterator[Record]:
    """Trial 1 kills its own process in epoch 4, the first time."""
    mark = Path(assignment.checkpoints).with_name("killed")
    for record in rising(assignment):
        if assignment.number == 1 and record["epoch"] == 4 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield record


def killed_always(assignment: Assignment) -> Iterator[Record]:
    """Trial 0 never gets beyond epoch 2."""
    for record in rising(assignment):
        if assignment.number == 0 and record["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield record


def noisy(assignment: Assignment) -> Iterator[Record]:
    """Print and warn in the worker."""
    sys.stdout.write("WORKER STDOUT\n")
    warnings.warn("WORKER WARNING", stacklevel=1)
    yield from rising(assignment)


def telling_process(assignment: Assignment) -> Iterator[Record]:
    """Each record has the number of the worker's process."""
    for record in rising(assignment):
        yield {**record, "process": os.getpid()}


def failing_process(assignment: Assignment) -> Iterator[Record]:
    """Trials 0 and 1 raise, after noting their process."""
    for record in telling_process(assignment):
        (Path(assignment.checkpoints) / "process").write_text(str(os.getpid()))
        if assignment.number < 2:
            raise RuntimeError("device-side assert")
        yield record


def crowded(assignment: Assignment) -> Iterator[Record]:
    """Two trials never fit on one GPU; who may have a neighbour waits some seconds for it."""
    gpu = Path(assignment.checkpoints).with_name(f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}")
    came, on_it = gpu / "came", gpu / "on_it"
    for marks in (came, on_it):
        marks.mkdir(parents=True, exist_ok=True)
        (marks / str(assignment.number)).touch()
    try:
        deadline = time.monotonic() + 10
        while assignment.gpu_share < 1 and len(list(came.iterdir())) < 2:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        for record in rising(assignment):
            if len(list(on_it.iterdir())) > 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            yield {**record, "share": assignment.gpu_share}
    finally:
        (on_it / str(assignment.number)).unlink()


def first_time(assignment: Assignment, what: str) -> bool:
    """Tell whether a trial comes here for the first time."""
    mark = Path(assignment.checkpoints, what)
    was_there = mark.exists()
    mark.touch()
    return not was_there


def troubled(assignment: Assignment) -> Iterator[Record]:
    """In epoch 6 trials 0 to 6 meet one fault each, most of them once."""
    for record in rising(assignment):
        if record["epoch"] == 6:
            meet_fault(assignment, record)
        yield {**record, "process": os.getpid()}


def meet_fault(assignment: Assignment, record: Record) -> None:
    match assignment.number:
        case 0 if first_time(assignment, "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        case 1 if first_time(assignment, "stopped"):
            os.kill(os.getpid(), signal.SIGSTOP)
        case 2 if first_time(assignment, "raised"):
            raise RuntimeError("a bad moment")
        case 3:
            raise RuntimeError("a bad trial")
        case 4:
            record["val_ssim"] = float("nan")
        case 5 if first_time(assignment, "full"):
            raise OSError(errno.ENOSPC, "No space left on device", "00006")
        case 6:
            raise MemoryError("no room for another batch")


def raising_once(assignment: Assignment) -> Iterator[Record]:
    """Every trial raises before its third epoch, the first time."""
    for record in rising(assignment):
        if record["epoch"] == 3 and first_time(assignment, "raised"):
            raise RuntimeError("a bad moment")
        yield record


def never_begun(assignment: Assignment) -> Iterator[Record]:
    """What every trial needs is not there."""
    raise ModuleNotFoundError(f"No module named 'cupy' (trial {assignment.number})")
    yield {}


class Unpicklable:
    """A trial function that no worker can load."""

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        return rising(assignment)

    def __deepcopy__(self, memo: object) -> "Unpicklable":
        return self

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return importlib.import_module, ("no_such_module",)


class HangingOnce:
    """A trial function that stops the process which loads it, the first time."""

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        return rising(assignment)

    def __deepcopy__(self, memo: object) -> "HangingOnce":
        return self

    def __reduce__(self) -> tuple[Callable[..., object], tuple[()]]:
        return loaded_hanging_once, ()


def loaded_hanging_once() -> Callable[[Assignment], Iterator[Record]]:
    try:
        Path.home().joinpath("hung").touch(exist_ok=False)
    except FileExistsError:
        return rising
    os.kill(os.getpid(), signal.SIGSTOP)
    return rising


FUNCTIONS: dict[str, Callable[[Assignment], Iterator[Record]]] = {
    function.__name__: function
    for function in (
        rising,
        failing,
        without_data,
        short,
        killed_once,
        killed_always,
        noisy,
        telling_process,
        failing_process,
        crowded,
        troubled,
        raising_once,
        never_begun,
    )
}
FUNCTIONS["unpicklable"] = Unpicklable()
FUNCTIONS["hanging_once"] = HangingOnce()
FOLDER = Path(__file__).parent
