"""What a search tells whoever watches it; the displays are in displays.py.

A search never depends on its display: one that cannot be written to any more is silent.
"""

from collections.abc import Mapping
from typing import Protocol

from dexsearch.config.space import Scalar
from dexsearch.ledger.study import State, StudyRecord


class Progress(Protocol):
    """Hears of every event of a search after it was written down."""

    def opened(self, record: StudyRecord, *, trials: int, epochs: int) -> None:
        """Hear what an earlier process did, before anything else."""

    def trial_started(
        self,
        number: int,
        *,
        continued: bool,
        immune: bool,
        params: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Hear that a trial begins or goes on."""

    def trial_put_back(self, number: int) -> None:
        """Hear that a running trial waits to begin again; why comes as a message."""

    def epoch_done(self, number: int, epoch: int, value: float) -> None:
        """Hear the objective of one epoch."""

    def trial_ended(
        self, number: int, state: State, value: float | None, reason: str | None
    ) -> None:
        """Hear how a trial ended, with its last objective."""

    def message(self, text: str) -> None:
        """Hear something worth one line."""

    def closed(self) -> None:
        """Hear that nothing more will come; may be called twice."""


class SilentProgress:
    """Shows nothing."""

    def opened(self, record: StudyRecord, *, trials: int, epochs: int) -> None:
        """Show nothing."""

    def trial_started(
        self,
        number: int,
        *,
        continued: bool,
        immune: bool,
        params: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Show nothing."""

    def trial_put_back(self, number: int) -> None:
        """Show nothing."""

    def epoch_done(self, number: int, epoch: int, value: float) -> None:
        """Show nothing."""

    def trial_ended(
        self, number: int, state: State, value: float | None, reason: str | None
    ) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def closed(self) -> None:
        """Show nothing."""


def told_params(params: Mapping[str, Scalar]) -> str:
    """Return parameters as one short line: `depth=4 width=16 learning_rate=0.00123`."""
    return " ".join(
        f"{key.rpartition('.')[2]}={f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in params.items()
    )
