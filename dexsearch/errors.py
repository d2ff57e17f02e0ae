"""Every error that a user can cause, and the exit code of each.

    DexSearchError            1   a bug when raised as such; `main` prints one line
    |-- ConfigurationError    3   a YAML file, a flag, a study that would change under its name
    |-- EnvironmentFault      4   Ray, MLflow, disk or a package is not as needed
    |   `-- NotRegistered     4   a model name, version or alias that the registry lacks
    |-- SearchFailed          5   no complete trial, or too many failed ones
    |-- NotPromoted           5   the hold-out does not show that a generator is better
    |-- StudyBusy             6   another process holds the study
    |-- DataError             7   images, CTs, datasets, downloads that cannot be used as they are
    `-- Interrupted         130   Ctrl-C; the same command continues
        `-- Terminated      143   SIGTERM; the same command continues

A message says what was given, what is allowed and what to do, in that order. `hint` is the
command or the change that helps, printed on a line of its own.
"""

from typing import ClassVar


class DexSearchError(Exception):
    """Base of every error that is reported as one line instead of a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(DexSearchError):
    """A configuration that cannot be run as written."""

    exit_code = 3


class EnvironmentFault(DexSearchError):
    """The machine, the cluster or the tracking store is not as needed."""

    exit_code = 4


class NotRegistered(EnvironmentFault):
    """A generator was asked for that the registry does not hold."""


class SearchFailed(DexSearchError):
    """A search ended without a complete trial, or with too many failed ones."""

    exit_code = 5


class NotPromoted(DexSearchError):
    """The hold-out was looked at, and does not show that a generator is better; nothing moved."""

    exit_code = 5


class StudyBusy(DexSearchError):
    """Another process works on the same study."""

    exit_code = 6


class DataError(DexSearchError):
    """Images, volumes, datasets or downloads that cannot be used as they are."""

    exit_code = 7


class Interrupted(DexSearchError):
    """The user or the system asked to stop; nothing is lost and the same command continues."""

    exit_code = 130


class Terminated(Interrupted):
    """Stopped by SIGTERM, as a scheduler does before it takes the machine away."""

    exit_code = 143
