"""Where the driver of a search spends processor time: a sampling profile of its main thread.

A second thread looks at the main thread's stack every few milliseconds and books the processor
time that it has used since to a part: the innermost frame that a part names. Time without
processor (waiting) is not booked. Other threads (Ray's own, in C++) are told as one sum.
"""

import sys
import threading
import time
from collections import Counter
from types import FrameType

INTERVAL_S = 0.004

PARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("ledger", "dexsearch/ledger/log.py", ()),
    ("study.db", "dexsearch/search/study_database.py", ()),
    ("replay of the ledger", "dexsearch/search/study_rebuild.py", ()),
    ("display", "dexsearch/search/displays.py", ()),
    ("ask (sampler)", "dexsearch/search/optuna_study.py", ("ask",)),
    ("ask (sampler)", "dexsearch/search/space.py", ("suggest", "_suggest_one")),
    ("study.db", "dexsearch/search/study_rows.py", ()),
    ("should_prune", "dexsearch/search/optuna_study.py", ("should_prune",)),
    ("other study calls", "dexsearch/search/optuna_study.py", ()),
    ("driver, journal, bridge", "dexsearch/", ()),
    ("peer: searcher", "ray/tune/search/optuna/", ()),
    ("peer: scheduler", "ray/tune/schedulers/", ()),
    ("Tune: making a trial", "ray/tune/search/search_generator.py", ()),
    ("Tune: actors and their calls", "ray/air/execution/", ()),
    ("Tune: results", "ray/tune/execution/tune_controller.py",
     ("_on_training_result", "_process_trial_results", "_process_trial_result")),
    ("Tune: state files", "ray/tune/execution/experiment_state.py", ()),
    ("Tune: output", "ray/tune/experimental/output.py", ()),
    ("Tune: output", "ray/tune/progress_reporter.py", ()),
    ("Tune: its loop", "ray/tune/", ()),
    ("Ray: other", "ray/", ()),
)  # fmt: skip
"""Part, end of a folder or file, function names; the first that fits the innermost frame wins."""


class DriverProfile:
    """Samples the thread that makes it, from `start` to `stop`."""

    def __init__(self) -> None:
        thread = threading.current_thread()
        self._ident = int(thread.ident or 0)
        self._clock = time.pthread_getcpuclockid(self._ident)
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._part_of: dict[tuple[str, str], str | None] = {}
        self._lock = threading.Lock()
        self.parts: Counter[str] = Counter()
        self.hot: Counter[str] = Counter()
        self.sampler_s = 0.0
        self.main_s = 0.0
        self._process_s = 0.0

    def start(self) -> None:
        """Begin to sample."""
        self._process_s = time.process_time()
        self._sampler.start()

    def stop(self) -> None:
        """End, and wait for the last sample."""
        self._over.set()
        self._sampler.join()
        self._process_s = time.process_time() - self._process_s

    def seconds(self) -> dict[str, float]:
        """Return processor seconds by part, all of the process together."""
        others = self._process_s - self.main_s - self.sampler_s
        return {
            **{part: round(s, 3) for part, s in self.parts.most_common()},
            "other threads (Ray's C++)": round(others, 3),
            "this profile": round(self.sampler_s, 3),
        }

    def hottest(self, n: int = 40) -> list[tuple[str, float]]:
        """Return part and innermost function with the most seconds, for whoever mends them."""
        return [(name, round(s, 2)) for name, s in self.hot.most_common(n)]

    def _sample(self) -> None:
        before = begin = time.clock_gettime(self._clock)
        while not self._over.wait(INTERVAL_S):
            now = time.clock_gettime(self._clock)
            if now - before > 1e-5:
                self._book(sys._current_frames().get(self._ident), now - before)
            before = now
        self.main_s = before - begin
        self.sampler_s = time.thread_time()

    def _book(self, frame: FrameType | None, seconds: float) -> None:
        leaf = frame
        while frame is not None:
            part = self._part(frame)
            if part is not None:
                self.parts[part] += seconds
                self.hot[f"{part}: {_name(frame)} <- {_name(leaf)}"] += seconds
                return
            frame = frame.f_back
        self.parts["start and end"] += seconds

    def _part(self, frame: FrameType) -> str | None:
        code = frame.f_code
        key = (code.co_filename, code.co_name)
        if key not in self._part_of:
            self._part_of[key] = next(
                (part for part, place, names in PARTS
                 if place in key[0] and (not names or key[1] in names)), None,
            )  # fmt: skip
        return self._part_of[key]


def _name(frame: FrameType | None) -> str:
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_code.co_name}"
