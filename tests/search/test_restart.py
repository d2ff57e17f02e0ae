"""What a driver does before the first trial of a large study that it takes up, in operations."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from searching import SPACE, space_with

from dexsearch.ledger.log import EventLog, read_events
from dexsearch.ledger.study import LEDGER_NAME
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.driver import StudyDriver
from dexsearch.search.live_trial import LiveTrial
from dexsearch.search.progress import SilentProgress
from dexsearch.search.study import run_study

UNFINISHED = 4
CHANGES: dict[str, Any] = {
    "epochs": 2, "sampler": {"kind": "qmc"}, "pruner": {"kind": "none"},
    "search": {"optimizer.learning_rate": SPACE["search"]["optimizer.learning_rate"]},
}  # fmt: skip
ON_DISKS = {"stat", "lstat", "open", "scandir", "listdir", "mkdir", "unlink", "rename", "fsync"}


def killed_study(folder: Path, trials: int) -> None:
    """Write the ledger of a driver that was killed while its last trials trained."""
    space = space_with(**CHANGES, trials=2 * trials)
    params = {"optimizer.learning_rate": 1e-3}
    started = {
        "event": "trial_started", "params": params, "immune": False, "enqueued": False,
        "config": LiveTrial.proposed(space, 0, params)[0].config,
    }  # fmt: skip
    request = StudyRequest("s", space, Path("datasets/x"), "digest", (64, 64), 1)
    with EventLog(folder / LEDGER_NAME) as log:
        log.append(request.as_event())
        for number in range(trials):
            is_over = number < trials - UNFINISHED
            log.append({**started, "trial": number}, sync=False)
            for epoch in (1, 2) if is_over else (1,):
                record = {"epoch": epoch, "val_ssim": 0.5, "seconds": 1.0}
                log.append({"event": "epoch", "trial": number, "record": record}, sync=False)
            if is_over:
                ended = {"event": "trial_ended", "state": "complete", "value": 0.5}
                log.append({**ended, "trial": number}, sync=False)


def taken_up(folder: Path, trials: int, then: Callable[[StudyDriver], None]) -> None:
    """Take up a killed study; `then` stands for its backend."""
    killed_study(folder, trials)

    class Backend:
        def run(self, driver: StudyDriver) -> None:
            then(driver)

    run_study(
        space_with(**CHANGES, trials=2 * trials), study="s", folder=folder,
        dataset=Path("datasets/x"), dataset_digest="digest", size_px=(64, 64),
        progress=SilentProgress(), backend=Backend(),
    )  # fmt: skip


class Counted:
    """Counts what this thread does, from its making until `stop`."""

    def __init__(self) -> None:
        self.calls = self.files = self.statements = 0
        sys.setprofile(self._look)

    def stop(self, driver: StudyDriver | None = None) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, called: Any) -> None:  # noqa: ANN401
        if event == "call":
            self.calls += "/dexsearch/" in frame.f_code.co_filename
        elif event == "c_call":
            self.files += called.__name__ in ON_DISKS and called.__module__ in ("posix", "_io")
            self.statements += called.__name__ in ("execute", "executemany")


def counted(folder: Path, trials: int) -> Counted:
    """Count what is done before the backend of a taken up study is begun."""
    work = Counted()
    try:
        taken_up(folder, trials, work.stop)
    finally:
        work.stop()
    return work


def test_taking_a_study_up_costs_the_same_for_each_trial_and_touches_disks_no_more_for_many(
    tmp_path: Path,
) -> None:
    taken_up(tmp_path / "imports", 5, lambda driver: None)
    few, more, many = (counted(tmp_path / str(n), n) for n in (20, 40, 80))
    assert few.calls > 0
    assert many.calls - more.calls == 2 * (more.calls - few.calls)
    assert many.files == more.files == few.files > 0
    assert many.statements == more.statements == few.statements > 0


def test_of_hundreds_of_trials_the_unfinished_ones_are_handed_out_first_and_no_other_is_touched(
    tmp_path: Path,
) -> None:
    trials, handed_out, lines = 250, [], []

    def begin(driver: StudyDriver) -> None:
        ledger = tmp_path / "s" / LEDGER_NAME
        before = len(read_events(ledger))
        for _ in range(UNFINISHED + 2):
            assignment = driver.next_trial()
            assert assignment is not None
            handed_out.append(assignment.number)
        lines.extend(read_events(ledger)[before:])

    taken_up(tmp_path / "s", trials, begin)
    assert handed_out == list(range(trials - UNFINISHED, trials + 2))
    written = [(event["event"], event["trial"]) for event in lines]
    unfinished, new = handed_out[:UNFINISHED], handed_out[UNFINISHED:]
    assert written == [
        *(("trial_continued", number) for number in unfinished),
        *(("trial_started", number) for number in new),
    ]
