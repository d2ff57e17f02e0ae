"""Trials in the driver's own process, taking turns report by report: for tests and debugging.

Behaves like the Ray backend as far as the driver can tell; the conformance tests run on both.
"""

from dataclasses import dataclass

from dexsearch.search.driver import StudyDriver
from dexsearch.search.sharing import NO_GPU, GpuSharing
from dexsearch.search.trial import TrialFunction, TrialStepper


@dataclass(frozen=True, slots=True)
class InProcessBackend:
    """Runs `slots` trials at once, without processes and without Ray."""

    function: TrialFunction
    slots: int = 2
    patience: float = 0.0
    """How long a report is waited for, see `TrialStepper`; 0: every epoch is reported alone."""

    sharing: GpuSharing = NO_GPU
    """GPUs to pretend: trials say themselves when their memory is used up."""

    def run(self, driver: StudyDriver) -> None:
        """Run trials in turn until the driver has no more."""
        steppers: list[TrialStepper] = []
        idle = [TrialStepper(self.function, patience=self.patience) for _ in range(self.slots)]
        driver.running.sharing = self.sharing
        try:
            while True:
                while idle and not driver.must_wait and (assignment := driver.next_trial()):
                    idle[-1].begin(assignment)
                    steppers.append(idle.pop())
                if not steppers:
                    return
                for stepper in list(steppers):
                    report = stepper.step()
                    if driver.on_report(report) or report.last:
                        stepper.close()
                        steppers.remove(stepper)
                        idle.append(stepper)
        finally:
            for stepper in steppers:
                stepper.close()
