import logging
from collections.abc import Iterator

import pytest
import torch

from dexsearch.errors import DataError
from dexsearch.search.trial import Assignment, Record, TrialStepper, failure_of
from dexsearch.training.record import TrainingDiverged


def assignment(number: int = 0, epochs: int = 3, decide_from: int = 1) -> Assignment:
    return Assignment(number, {}, epochs, "trials/0", decide_from)


def counting(given: Assignment) -> Iterator[Record]:
    for epoch in range(1, given.epochs + 1):
        yield {"epoch": epoch, "val_ssim": 0.5}


def test_without_patience_a_step_is_an_epoch_and_the_last_one_says_so() -> None:
    stepper = TrialStepper(counting, patience=0)
    stepper.begin(assignment(number=4))
    reports = [stepper.step() for _ in range(3)]
    assert [record for report in reports for record in report.records] == list(
        counting(assignment())
    )
    assert [report.last for report in reports] == [False, False, True]
    assert {report.number for report in reports} == {4}


@pytest.mark.parametrize(
    ("epoch_s", "decide_from", "reported"),
    [
        (0.0, 5, [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11, 12]]),
        (0.15, 5, [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11], [12]]),
        (0.15, 12, [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]),
        (0.15, 2, [[1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [12]]),
        (0.6, 12, [[epoch] for epoch in range(1, 13)]),
        (60.0, 5, [[epoch] for epoch in range(1, 13)]),
    ],
)
def test_short_epochs_are_reported_together_but_no_verdict_has_to_wait(
    epoch_s: float, decide_from: int, reported: list[list[int]]
) -> None:
    now = [0.0]

    def lasting(given: Assignment) -> Iterator[Record]:
        for record in counting(given):
            now[0] += epoch_s
            yield record

    stepper = TrialStepper(lasting, clock=lambda: now[0])
    stepper.begin(assignment(epochs=12, decide_from=decide_from))
    found = []
    while not found or found[-1][-1] < 12:
        found.append([record["epoch"] for record in stepper.step().records])
    assert found == reported


def test_a_new_assignment_closes_the_trial_at_hand() -> None:
    closed: list[int] = []

    def watched(given: Assignment) -> Iterator[Record]:
        try:
            yield from counting(given)
        finally:
            closed.append(given.number)

    stepper = TrialStepper(watched, patience=0)
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
    stepper.begin(assignment(decide_from=3))
    report = stepper.step()
    assert report.last
    assert report.records == ({"epoch": 1},), "what was trained before is not lost"
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
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`"), "memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), "exception"),
        (DataError("no such file"), "data"),
        (ZeroDivisionError("by zero"), "exception"),
    ],
)
def test_failures_have_kinds(error: Exception, kind: str) -> None:
    assert failure_of(error).kind == kind


def test_a_step_without_an_assignment_is_refused() -> None:
    with pytest.raises(ValueError, match="no trial is at hand"):
        TrialStepper(counting).step()


def test_what_training_warns_of_travels_with_the_report_and_no_other() -> None:
    log = logging.getLogger("dexsearch.training.checkpoint")

    def passing_over(given: Assignment) -> Iterator[Record]:
        log.warning("checkpoint passed over: %s", "00004")
        log.info("read 00002")
        yield from counting(given)

    stepper = TrialStepper(passing_over, patience=0)
    stepper.begin(assignment())
    logging.getLogger("dexsearch.training").warning("nobody's")
    reports = [stepper.step() for _ in range(3)]
    assert [report.remarks for report in reports] == [("checkpoint passed over: 00004",), (), ()]


def test_warnings_before_a_failure_are_told_too() -> None:
    def failing(given: Assignment) -> Iterator[Record]:
        logging.getLogger("dexsearch.training.loop").warning("no checkpoint of epoch 1")
        raise RuntimeError("a bug")
        yield from counting(given)

    stepper = TrialStepper(failing)
    stepper.begin(assignment())
    report = stepper.step()
    assert report.failure is not None
    assert report.remarks == ("no checkpoint of epoch 1",)
