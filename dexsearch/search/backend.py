"""Where the trials of a search run: on Ray, or in this process."""

from typing import Protocol

from dexsearch.search.driver import StudyDriver


class Backend(Protocol):
    """Runs the trials that a driver hands out."""

    def run(self, driver: StudyDriver) -> None:
        """Run trials until `driver.next_trial()` is None and none is left.

        Calls `driver.tick` at least every few seconds, and `driver.lost` when the process of a
        trial has gone. Exceptions of the driver end the search and reach the caller.
        """
        ...
