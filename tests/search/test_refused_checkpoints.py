"""Trials whose checkpoints are refused: waited for where that helps, never trained for ever."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invented_curves import rising
from searching import check_study, search_here

from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.study import read_study
from dexsearch.search import disk_wait
from dexsearch.search.retries import MAX_REFUSED_ENDS
from dexsearch.search.trial import Assignment, Record, TrialFunction, TrialStepper, failure_of
from dexsearch.training.checkpoint_interface import answering
from dexsearch.training.saving import TRAINED, tell_saved

NO_PRUNER = {"kind": "none"}
EPOCHS = 4


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_wait, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(disk_wait, "_LONGEST_PAUSE_S", 0.01)


def refused_at_the_end(error: Callable[[], OSError], ends: list[int]) -> TrialFunction:
    """Return trials that save every epoch but, with trial 1, the last one."""

    def function(assignment: Assignment) -> Iterator[Record]:
        for epoch in range(1, assignment.epochs + 1):
            if epoch == assignment.epochs and assignment.number == 1:
                ends.append(assignment.number)
                refused = error()
                refused.add_note(TRAINED)
                raise refused
            tell_saved(epoch)
            yield {"epoch": epoch, "val_ssim": 0.5, "seconds": 0.0}

    return function


@pytest.mark.parametrize(
    "error",
    [lambda: ConnectionError("s3://b: HTTP status 413"), lambda: OSError(errno.EDQUOT, "quota")],
    ids=["storage", "disk"],
)
def test_a_last_checkpoint_refused_again_and_again_ends_the_search_to_be_continued(
    error: Callable[[], OSError], tmp_path: Path
) -> None:
    """Also where others save meanwhile, so that no wait is ever long."""
    ends: list[int] = []
    with pytest.raises(EnvironmentFault, match="trial 1 is trained to its end and cannot be"):
        search_here(
            tmp_path / "s", refused_at_the_end(error, ends), trials=9, epochs=EPOCHS,
            pruner=NO_PRUNER,
        )  # fmt: skip
    assert len(ends) == MAX_REFUSED_ENDS
    assert read_study(tmp_path / "s").trials[1].state == "running"
    search_here(tmp_path / "s", rising, trials=9, epochs=EPOCHS, pruner=NO_PRUNER)
    check_study(tmp_path / "s", trials=9, epochs=EPOCHS)


def test_one_long_shortage_of_a_disk_is_waited_for_however_often_it_refuses_the_same(
    tmp_path: Path,
) -> None:
    refusals = iter(range(2 * MAX_REFUSED_ENDS))

    def full_for_a_while(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if record["epoch"] == EPOCHS and next(refusals, None) is not None:
                full = OSError(errno.ENOSPC, "No space left on device")
                full.add_note(TRAINED)
                raise full
            yield record

    search_here(
        tmp_path / "s", full_for_a_while, slots=1, trials=1, epochs=EPOCHS, pruner=NO_PRUNER
    )
    assert check_study(tmp_path / "s", trials=1, epochs=EPOCHS).in_state("complete")


def test_keys_that_are_not_valid_end_the_search_with_a_hint_after_one_more_try(
    tmp_path: Path,
) -> None:
    tries: list[int] = []

    def denied(assignment: Assignment) -> Iterator[Record]:
        yield next(rising(assignment))
        tries.append(assignment.number)
        with answering("s3://bucket/s"):
            raise OSError("When uploading part: AWS Error EXPIRED_TOKEN during UploadPart")

    with pytest.raises(EnvironmentFault, match="EXPIRED_TOKEN") as told:
        search_here(tmp_path / "s", denied, slots=1, trials=1, pruner=NO_PRUNER)
    assert "AWS_SESSION_TOKEN" in (told.value.hint or "")
    assert len(tries) == 2
    assert read_study(tmp_path / "s").trials[0].state == "running"


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("AWS Error ACCESS_DENIED during PutObject operation: Access Denied", "denied"),
        ("AWS Error EXPIRED_TOKEN during HeadObject operation", "denied"),
        ("AWS Error UNKNOWN (HTTP status 403): Bucket quota exceeded", "disk"),
        ("AWS Error NETWORK_CONNECTION during PutObject: curlCode 28", "storage"),
        ("AWS Error UNKNOWN (HTTP status 413): entity too large", "storage"),
    ],
)
def test_what_object_storage_says_tells_what_can_be_done_about_it(told: str, kind: str) -> None:
    with pytest.raises(OSError, match="s3://bucket/s: ") as raised, answering("s3://bucket/s"):
        raise OSError(told)
    assert failure_of(raised.value).kind == kind


def test_a_report_says_whether_a_checkpoint_was_stored_for_it() -> None:
    def saving_every_other(assignment: Assignment) -> Iterator[Record]:
        for epoch in range(1, 5):
            if epoch % 2 == 0:
                tell_saved(epoch)
            yield {"epoch": epoch}

    stepper = TrialStepper(saving_every_other, patience=0)
    stepper.begin(Assignment(0, {}, 4, "x"))
    assert [stepper.step().saved for _ in range(4)] == [False, True, False, True]
