from collections.abc import Iterator
from pathlib import Path

import pytest

from dexsearch.errors import DataError
from dexsearch.search.trial import Assignment, Record, TrialStepper, failure_of
from dexsearch.training.record import TrainingDiverged


def assignment(number: int = 0, epochs: int = 3) -> Assignment:
    return Assignment(number, {}, epochs, Path("trials/0"))


def counting(given: Assignment) -> Iterator[Record]:
    for epoch in range(1, given.epochs + 1):
        yield {"epoch": epoch, "val_ssim": 0.5}


def test_one_step_is_one_epoch_and_the_last_one_says_so() -> None:
    stepper = TrialStepper(counting)
    stepper.begin(assignment(number=4))
    reports = [stepper.step() for _ in range(3)]
    assert [report.record for report in reports] == list(counting(assignment()))
    assert [report.last for report in reports] == [False, False, True]
    assert {report.number for report in reports} == {4}


def test_a_new_assignment_closes_the_trial_at_hand() -> None:
    closed: list[int] = []

    def watched(given: Assignment) -> Iterator[Record]:
        try:
            yield from counting(given)
        finally:
            closed.append(given.number)

    stepper = TrialStepper(watched)
    stepper.begin(assignment(number=1))
    stepper.step()
    stepper.begin(assignment(number=2))
    assert closed == [1]
    assert stepper.step().number == 2
    stepper.close()
    stepper.close()
    assert closed == [1, 2]


def test_an_exception_is_the_last_report_and_not_raised() -> None:
    def raising(given: Assignment) -> Iterator[Record]:
        yield {"epoch": 1}
        raise KeyError("width")

    stepper = TrialStepper(raising)
    stepper.begin(assignment())
    assert not stepper.step().last
    report = stepper.step()
    assert report.last
    assert report.failure is not None
    assert (report.failure.kind, report.failure.reason) == ("exception", "KeyError: 'width'")
    assert 'raise KeyError("width")' in report.failure.last_lines


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TrainingDiverged(3, "the L1 loss is nan"), "numeric"),
        (FloatingPointError("overflow"), "numeric"),
        (MemoryError(), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "memory"),
        (DataError("no such file"), "data"),
        (ZeroDivisionError("by zero"), "exception"),
    ],
)
def test_failures_have_kinds(error: Exception, kind: str) -> None:
    assert failure_of(error).kind == kind


def test_a_step_without_an_assignment_is_refused() -> None:
    with pytest.raises(ValueError, match="no trial is at hand"):
        TrialStepper(counting).step()
