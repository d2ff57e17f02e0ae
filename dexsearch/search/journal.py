"""What happens in a search, passed on to everybody who keeps it.

Whatever happens is written to the ledger first and told to the Optuna study second; the display
hears of it last.
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from dexsearch.config.space import LimitsConfig, Scalar
from dexsearch.errors import DexSearchError
from dexsearch.ledger.study import State
from dexsearch.search.limits import excesses
from dexsearch.search.live_trial import LiveTrial, without_nan
from dexsearch.search.optuna_study import OptunaStudy, end_trial
from dexsearch.search.progress import Progress
from dexsearch.search.retries import Setback
from dexsearch.search.trial import Failure, Record

SHOWN_LINES = 3
"""How much of a failed trial's traceback the display shows; all of it is in a file."""

_THEN = {
    "memory": "",
    "disk": "; it waits for space, and continues from its checkpoint",
    "storage": "; it waits for an answer, and continues from its checkpoint",
}


class Log(Protocol):
    """What takes an event and writes it down: the ledger."""

    def append(self, event: Mapping[str, Any], *, sync: bool = True) -> Mapping[str, Any]:
        """Write one event; with `sync` a power cut does not lose it."""
        ...


class Journal:
    """Tells ledger, study and display of a search, in this order."""

    def __init__(
        self,
        log: Log,
        study: OptunaStudy,
        progress: Progress,
        *,
        limits: LimitsConfig,
        logs: Path,
    ) -> None:
        """`logs` is the folder for what failed trials left; made when there is something."""
        self._log = log
        self._study = study
        self._progress = progress
        self._limits = limits
        self._logs = logs
        self._counted: set[int] = set()
        """Who was handed out again and has no new epoch: suspects if this process is killed."""

    def started(self, trial: LiveTrial, params: Mapping[str, Scalar], *, enqueued: bool) -> None:
        """Note that a trial was proposed."""
        n_parameters = trial.n_parameters
        self._log.append(
            {
                "event": "trial_started",
                "trial": trial.number,
                "params": params,
                "config": trial.config,
                "immune": trial.immune,
                "enqueued": enqueued,
                **({} if n_parameters is None else {"parameters": n_parameters}),
            }
        )
        self._study.constrain(trial.number, excesses(self._limits, n_parameters=n_parameters))
        self._study.note(trial.number, "immune", trial.immune)
        self._progress.trial_started(
            trial.number, continued=False, immune=trial.immune, params=params
        )

    def continued(self, trial: LiveTrial) -> None:
        """Note that an unfinished trial is handed out again."""
        if not trial.was_put_back:
            self._log.append({"event": "trial_continued", "trial": trial.number})
            self._counted.add(trial.number)
        self._progress.trial_started(trial.number, continued=True, immune=trial.immune)

    def interrupted(
        self, number: int, reason: str, setback: Setback, pause_s: float = 0.0
    ) -> None:
        """Note why a running trial has to begin again; the pause is for the display only."""
        self._log.append(
            {"event": "trial_continued", "trial": number, "reason": reason, "kind": setback}
        )
        then = _THEN.get(setback, "; continuing from its checkpoint")
        later = f" in {pause_s:g} s" if pause_s else ""
        self._progress.trial_put_back(number)
        self._progress.message(f"trial {number}: {reason}{then}{later}")

    def withdrawn(self, number: int) -> None:
        """Note that a trial was taken back which had waited for room."""
        if number in self._counted:
            self._uncount(number)
        self._progress.trial_put_back(number)
        self._progress.message(f"trial {number} waited for room; the same command begins it")

    def acquit(self, *, is_suspect: Callable[[int], bool] = lambda number: False) -> None:
        """Note that the search ends for a reason that it can tell, so no trial has killed it.

        Where the ledger cannot be written (any more), nothing is noted.

        Args:
            is_suspect: tells of a trial whether it may have ended the search all the same.
        """
        with contextlib.suppress(DexSearchError):
            for number in sorted(self._counted):
                if not is_suspect(number):
                    self._uncount(number)

    def _uncount(self, number: int) -> None:
        self._log.append({"event": "trial_withdrawn", "trial": number}, sync=False)
        self._counted.discard(number)

    def held_back(self, trial: LiveTrial, failure: Failure) -> None:
        """Tell of a failure before a first epoch, of which it is not known whose fault it is."""
        self._keep_traceback(trial, failure)
        self._progress.trial_put_back(trial.number)
        self._progress.message(
            f"trial {trial.number}: {failure.reason}; it has failed if others get under way"
        )

    def sharing(self, per_gpu: int) -> None:
        """Note how many trials share a GPU from now on."""
        self._log.append({"event": "gpu_sharing", "per_gpu": per_gpu})

    def epoch(self, trial: LiveTrial, record: Record, value: float) -> None:
        """Note an epoch and its objective."""
        number, epoch = trial.number, int(record["epoch"])
        event = {"event": "epoch", "trial": number, "record": without_nan(record)}
        self._log.append(event, sync=False)
        self._counted.discard(number)
        trial.values[epoch] = value
        if epoch == 1:
            trial.latency_ms = record.get("latency_ms")
            self._study.constrain(number, excesses(self._limits, latency_ms=trial.latency_ms))
        if trial.would_prune_at is None:
            self._study.report(number, epoch, value)
        self._progress.epoch_done(number, epoch, value)

    def spared(self, trial: LiveTrial, epoch: int) -> None:
        """Note that only its immunity keeps a trial from being pruned."""
        trial.would_prune_at = epoch
        self._log.append({"event": "would_prune", "trial": trial.number, "epoch": epoch})
        self._study.note(trial.number, "would_prune_at", epoch)

    def failed(self, trial: LiveTrial, failure: Failure) -> None:
        """Note that a trial failed, and keep the end of its traceback."""
        log_file = self._keep_traceback(trial, failure)
        self.ended(trial, "failed", reason=failure.reason, kind=failure.kind)
        if log_file is not None and failure.kind == "exception":
            for line in failure.last_lines.splitlines()[-SHOWN_LINES:]:
                self._progress.message(f"trial {trial.number}: {line}")
            self._progress.message(f"trial {trial.number}: traceback in {log_file}")

    def _keep_traceback(self, trial: LiveTrial, failure: Failure) -> Path | None:
        """Write down what a failed trial said; return the file, None if there is none."""
        if not failure.last_lines:
            return None
        log_file = self._logs / f"trial-{trial.number}.txt"
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            log_file.write_text(failure.last_lines, encoding="utf-8")
        except OSError as error:
            self._progress.message(f"{log_file} cannot be written: {error.strerror}")
            return None
        return log_file

    def ended(
        self,
        trial: LiveTrial,
        state: State,
        *,
        reason: str | None = None,
        kind: str | None = None,
        checkpoint: str | None = None,
    ) -> None:
        """Note how a trial ended."""
        self._log.append(
            {
                "event": "trial_ended",
                "trial": trial.number,
                "state": state,
                "reason": reason,
                "kind": kind,
                "checkpoint": checkpoint,
            }
        )
        self._counted.discard(trial.number)
        spared = trial.would_prune_at is not None
        end_trial(self._study, trial.number, state, trial.values, failure=reason, spared=spared)
        last_value = trial.values[max(trial.values)] if trial.values else None
        self._progress.trial_ended(trial.number, state, last_value, reason)
