import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invented_curves import FUNCTIONS
from searching import SUPPORT, check_study, search_here

from dexsearch.ledger.study import read_study
from dexsearch.search.displays import LiveProgress, PlainProgress, progress_for
from dexsearch.search.progress import Progress, SilentProgress, told_params


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_table_and_a_file_gets_lines() -> None:
    assert isinstance(progress_for(Terminal()), LiveProgress)
    assert isinstance(progress_for(io.StringIO()), PlainProgress)


def played(progress: Progress, folder: Path) -> None:
    """Show a study that was interrupted and goes on."""
    from invented_curves import rising

    search_here(folder, rising, trials=2)
    progress.opened(read_study(folder), trials=4, epochs=9)
    progress.trial_started(
        2, continued=False, immune=True, params={"optimizer.learning_rate": 0.00123456}
    )
    progress.epoch_done(2, 1, 0.51239)
    progress.epoch_done(2, 2, 0.6)
    progress.trial_ended(2, "failed", 0.6, "RuntimeError: \x1b[2Jno\nmemory")
    progress.trial_started(3, continued=False, immune=False)
    progress.message("trial 3: its process was lost")
    progress.closed()
    progress.closed()


@pytest.mark.parametrize("kind", [LiveProgress, PlainProgress])
def test_every_display_shows_trials_scores_and_reasons(
    kind: type[LiveProgress] | type[PlainProgress], tmp_path: Path
) -> None:
    stream = Terminal()
    played(kind(stream), tmp_path / "s")
    text = stream.getvalue()
    for shown in ("0.5124" if kind is PlainProgress else "0.6000", "failed", "was lost"):
        assert shown in text
    assert "\x1b[2Jno" not in text, "a reason must not clear the terminal"


def test_plain_progress_is_one_line_per_event(tmp_path: Path) -> None:
    stream = io.StringIO()
    played(PlainProgress(stream), tmp_path / "s")
    assert stream.getvalue().splitlines() == [
        "study s: 4 trials of at most 9 epochs, 2 of them ended before",
        "trial 2 started: learning_rate=0.00123 (immune to pruning)",
        "trial 2 epoch 1/9: 0.5124",
        "trial 2 epoch 2/9: 0.6000",
        "trial 2 failed at 0.6000 (RuntimeError: \\x1b[2Jno\\nmemory); 3/4 ended",
        "trial 3 started: ",
        "trial 3: its process was lost",
    ]


def test_silence_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    played(SilentProgress(), tmp_path / "s")
    assert capfd.readouterr() == ("", "")


def test_parameters_are_told_briefly() -> None:
    told = told_params(
        {"generator.depth": 4, "loss.adversarial": "none", "loss.l1_weight": 12.345}
    )
    assert told == "depth=4 adversarial=none l1_weight=12.3"


def test_no_message_can_move_the_cursor() -> None:
    for stream in (io.StringIO(), Terminal()):
        display = progress_for(stream)
        display.message("a\x1b[31mb\rc")
        assert "a\\x1b[31mb\\rc" in stream.getvalue()


def test_hundreds_of_running_trials_make_no_longer_a_table(tmp_path: Path) -> None:
    space = {"trials": 1, "search": {}}
    search_here(tmp_path / "s", FUNCTIONS["rising"], **space)
    lines = []
    for running in (30, 512):
        stream = Terminal()
        display = LiveProgress(stream)
        display.opened(read_study(tmp_path / "s"), trials=600, epochs=9)
        for number in range(1, running + 1):
            display.trial_started(number, continued=False, immune=False)
        display.closed()
        text = stream.getvalue()
        assert f"{running - 24} more are running" in text
        lines.append(text.rpartition("trial ")[2].count("\n"))
    assert lines[0] == lines[1]


@pytest.mark.slow
@pytest.mark.parametrize("make", [os.pipe, pty.openpty], ids=["pipe", "terminal"])
def test_a_search_outlives_whoever_watches_it(
    make: Callable[[], tuple[int, int]], tmp_path: Path
) -> None:
    """The reader of a pipe, or a terminal, goes away in mid-search: EPIPE, EIO."""
    reader, writer = make()
    command = [sys.executable, str(SUPPORT / "drive_display.py"), str(tmp_path / "s")]
    with subprocess.Popen(command, stderr=writer, start_new_session=True) as search:
        os.close(writer)
        assert os.read(reader, 1), "it has begun to show something"
        os.close(reader)
        (tmp_path / "s.gate").touch()
    assert search.returncode == 0
    check_study(tmp_path / "s", trials=2, epochs=9)
