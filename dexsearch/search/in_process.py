"""Trials in the driver's own process, taking turns report by report: for tests and debugging.

Behaves like the Ray backend as far as the driver can tell; the conformance tests run on both.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dexsearch.search.driver import StudyDriver
from dexsearch.search.sharing import NO_GPU, GpuSharing
from dexsearch.search.trial import TrialFunction, TrialStepper

_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class InProcessBackend:
    """Runs `slots` trials at once, without processes and without Ray."""

    function: TrialFunction
    slots: int = 2
    patience: float = 0.0
    """How long a report is waited for, see `TrialStepper`; 0: every epoch is reported alone."""

    sharing: GpuSharing = NO_GPU
    """GPUs to pretend: trials say themselves when their memory is used up."""

    pause: Callable[[float], None] = time.sleep
    """Called with seconds when nothing can be done but wait."""

    def run(self, driver: StudyDriver) -> None:
        """Run trials in turn until the driver has no more."""
        steppers: list[TrialStepper] = []
        idle = [TrialStepper(self.function, patience=self.patience) for _ in range(self.slots)]
        driver.share_gpus(self.sharing)
        try:
            while True:
                driver.tick()
                is_over = False
                while idle and not driver.must_wait:
                    assignment = driver.next_trial()
                    if assignment is None:
                        is_over = True
                        break
                    idle[-1].begin(assignment)
                    steppers.append(idle.pop())
                if not steppers:
                    if is_over:
                        return
                    self.pause(_PAUSE_S)
                for stepper in list(steppers):
                    report = stepper.step()
                    if driver.on_report(report) or report.last:
                        stepper.close()
                        steppers.remove(stepper)
                        idle.append(stepper)
        finally:
            for stepper in steppers:
                stepper.close()
