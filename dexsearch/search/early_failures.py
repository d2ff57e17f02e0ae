"""Failures before a first epoch: the trial's own fault, or that of what every trial needs?

A worker that cannot import its function, a shared folder that is gone or a broken driver of a GPU
fails one trial after the other, within seconds each. So such a failure is held back until it is
known whose fault it is: where another trial gets under way it was the trial's own, which has
failed then. Where several in a row fail in the same way the search stops, and because nothing of
them was written down as failed, the same command continues them once the cause is mended.

Where all of them were on one node while others train elsewhere, that node is to blame: the node
that is free is always the one on which trials fail. It gets no more, and they begin anew. Where
processes cannot even begin, which no configuration decides, those who get on elsewhere tell
nothing of the node, so such failures are held until somebody gets on there.
"""

import re
from collections.abc import Callable

from dexsearch.errors import DexSearchError, EnvironmentFault, SearchFailed
from dexsearch.search.live_trial import LiveTrial
from dexsearch.search.retries import MAX_STARTS
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
        self._of_nodes: list[tuple[LiveTrial, Failure]] = []
        """Held as well: processes that could not begin, while others got on elsewhere."""

    def holds(self, trial: LiveTrial, failure: Failure) -> bool:
        """Hold a failure back if it may have a cause in common with others."""
        if trial.is_under_way or failure.kind not in _SHARED:
            return False
        if self._held and _signature(self._held[-1][1]) != _signature(failure):
            self._fail_all(self._taken(self._held))
        self._held.append((trial, failure))
        return True

    def settle(self) -> None:
        """Let the trials fail after all: none is left that could tell whose fault it was."""
        self._fail_all(self._taken(self._of_nodes) + self._taken(self._held))

    def gets_on(self, node: str | None) -> None:
        """Let the trials fail which one that gets on, on a node that may be known, tells of."""
        held = self._taken(self._of_nodes) + self._taken(self._held)
        self._of_nodes = [(t, failure) for t, failure in held if _may_be_of_a_node(t, node)]
        self._fail_all([entry for entry in held if entry not in self._of_nodes])

    def _taken(self, held: list[tuple[LiveTrial, Failure]]) -> list[tuple[LiveTrial, Failure]]:
        taken = list(held)
        held.clear()
        return taken

    def _fail_all(self, held: list[tuple[LiveTrial, Failure]]) -> None:
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
        if others_run and self._is_of_a_node():
            return
        if len(self._held) < SAME_IN_A_ROW:
            return
        numbers = _numbers(self._held)
        failure = self._held[-1][1]
        is_lost = failure.kind == "infrastructure"
        fault: type[DexSearchError] = EnvironmentFault if is_lost else SearchFailed
        raise fault(
            f"trials {numbers} failed in the same way before their first epoch, so the search "
            f"stopped: {failure.reason}",
            hint="mend the cause (the study's folder logs/ has what they said); the same command "
            "then continues, these trials included",
        )

    def _is_of_a_node(self) -> bool:
        """Let trials begin anew elsewhere where the last one's node is to blame; return that."""
        last, failure = self._held[-1]
        alike = [
            entry
            for entry in (*self._of_nodes, *self._held)
            if entry[0].node == last.node and _signature(entry[1]) == _signature(failure)
        ]
        if last.node is None or len(alike) < SAME_IN_A_ROW:
            return False
        why = f"trials {_numbers(alike)} failed there: {failure.reason}"
        if not self._refuse_node(last.node, why):
            self._fail_all(self._taken(self._of_nodes))
            return False
        self._of_nodes = [entry for entry in self._of_nodes if entry not in alike]
        self._held = [entry for entry in self._held if entry not in alike]
        for trial, _ in alike:
            self._anew(trial)
        return True


def _may_be_of_a_node(trial: LiveTrial, getting_on: str | None) -> bool:
    """Tell whether a trial could not begin on a node that lacks what another one has."""
    could_not_begin = trial.setbacks.starts > MAX_STARTS
    return could_not_begin and None not in (trial.node, getting_on) and trial.node != getting_on


def _numbers(held: list[tuple[LiveTrial, Failure]]) -> str:
    return ", ".join(str(trial.number) for trial, _ in held)


def _signature(failure: Failure) -> tuple[str, str]:
    """Return what two failures of one cause have in common, on whatever node they were.

    Where a process could not even begin its exception's class will do. Otherwise paths and words
    with a digit differ, such as names of hosts, temporary files, addresses and Ray's own names.
    """
    what, _, _ = failure.reason.partition(":")
    told = what if failure.kind == "infrastructure" else failure.reason
    return failure.kind, _VARYING.sub("#", told)
