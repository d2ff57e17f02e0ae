"""Failures before a first epoch: the trial's own fault, or that of what every trial needs?

A worker that cannot import its function, a shared folder that is gone or a broken driver of a GPU
fails one trial after the other, within seconds each. So such a failure is held back until it is
known whose fault it is: where another trial gets under way it was the trial's own, which has
failed then. Where several in a row fail in the same way the search stops, and because nothing of
them was written down as failed, the same command continues them once the cause is mended.

Where all of them were on one node while others train elsewhere, that node is to blame: the node
that is free is always the one on which trials fail. It gets no more, and they begin anew.
"""

import re
from collections.abc import Callable

from dexsearch.errors import DexSearchError, EnvironmentFault, SearchFailed
from dexsearch.search.live_trial import LiveTrial
from dexsearch.search.trial import Failure

SAME_IN_A_ROW = 3
"""So many failures of one kind before a first epoch, and none without, stop a search."""

_SHARED = ("infrastructure", "exception")  # the other classes depend on the configuration

_VARYING = re.compile(r"[^\s'\"]*/[^\s'\"]*|\b[0-9a-f]{6,}\b|[\w.-]*\d[\w.-]*")


class EarlyFailures:
    """The failures that are held back."""

    def __init__(
        self,
        fail: Callable[[LiveTrial, Failure], None],
        *,
        anew: Callable[[LiveTrial], None],
        refuse_node: Callable[[str, str], bool],
    ) -> None:
        """Hold nothing yet.

        Args:
            fail: is called for each trial whose failure turns out to be its own.
            anew: is called for each one that failed because of its node.
            refuse_node: keeps trials off a node for a reason; False if no other one is left.
        """
        self._fail = fail
        self._anew = anew
        self._refuse_node = refuse_node
        self._held: list[tuple[LiveTrial, Failure]] = []

    def holds(self, trial: LiveTrial, failure: Failure) -> bool:
        """Hold a failure back if it may have a cause in common with others."""
        if trial.is_under_way or failure.kind not in _SHARED:
            return False
        if self._held and _signature(self._held[-1][1]) != _signature(failure):
            self.settle()
        self._held.append((trial, failure))
        return True

    def settle(self) -> None:
        """Let the trials fail after all: what every trial needs is there, or none is left."""
        held, self._held = self._held, []
        for trial, failure in held:
            self._fail(trial, failure)

    def raise_common_cause(self, *, others_run: bool) -> None:
        """Stop the search, or refuse a node, where enough trials in a row failed in the same way.

        Args:
            others_run: whether a trial runs of which nothing is known to be wrong.

        Raises:
            EnvironmentFault: if their processes were lost.
            SearchFailed: if they raised an exception.
        """
        if len(self._held) < SAME_IN_A_ROW:
            return
        numbers = ", ".join(str(trial.number) for trial, _ in self._held)
        failure = self._held[-1][1]
        if others_run and self._is_of_a_node(f"trials {numbers} failed there: {failure.reason}"):
            return
        is_lost = failure.kind == "infrastructure"
        fault: type[DexSearchError] = EnvironmentFault if is_lost else SearchFailed
        raise fault(
            f"trials {numbers} failed in the same way before their first epoch, so the search "
            f"stopped: {failure.reason}",
            hint="mend the cause (the study's folder logs/ has what they said); the same command "
            "then continues, these trials included",
        )

    def _is_of_a_node(self, why: str) -> bool:
        """Let the trials begin anew elsewhere where one node is to blame; return whether it is."""
        (node, *others) = {trial.node for trial, _ in self._held}
        if node is None or others or not self._refuse_node(node, why):
            return False
        held, self._held = self._held, []
        for trial, _ in held:
            self._anew(trial)
        return True


def _signature(failure: Failure) -> tuple[str, str]:
    """Return what two failures of one cause have in common, on whatever node they were.

    Where a process could not even begin its exception's class will do. Otherwise paths and words
    with a digit differ, such as names of hosts, temporary files, addresses and Ray's own names.
    """
    what, _, _ = failure.reason.partition(":")
    told = what if failure.kind == "infrastructure" else failure.reason
    return failure.kind, _VARYING.sub("#", told)
