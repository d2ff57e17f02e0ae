"""What people are told of who holds a study."""

import os
import signal
from dataclasses import replace
from pathlib import Path

from leases import ELSEWHERE, claimed_by, running, silent, wait_until

from dexsearch.search.lease import Pace, study_lease
from dexsearch.search.lease_file import newest_claim, try_to_claim
from dexsearch.search.lease_holder import holder_of


def test_nobody_holds_a_study_that_was_never_begun_or_was_given_back(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    with study_lease(tmp_path, takeover=False, tell=silent):
        holder = holder_of(tmp_path)
        assert holder is not None
        assert (holder.is_live, holder.may_come_back) == (True, False)
        assert f"(process {os.getpid()}, since " in str(holder)
        assert holder.as_json()["pid"] == os.getpid()
    assert holder_of(tmp_path) is None


def test_a_process_of_this_machine_is_seen_suspended_and_dead(tmp_path: Path) -> None:
    with running("hold", tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: "is suspended" in str(holder_of(tmp_path)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    holder = holder_of(tmp_path)
    assert holder is not None
    assert str(holder).endswith("whose process has died")
    assert (holder.is_live, holder.may_come_back) == (False, False)


def test_a_machine_that_beats_is_live_and_one_that_does_not_is_said_to_be_silent(
    tmp_path: Path,
) -> None:
    claimed_by(tmp_path, ELSEWHERE)
    holder = holder_of(tmp_path, longest_s=0.3)
    assert holder is not None
    assert str(holder).endswith("shows no sign of life")
    assert holder.may_come_back
    pace = Pace(beat_s=0.05, silence_s=0.3, look_s=0.05)
    with study_lease(tmp_path, takeover=True, tell=silent, pace=pace) as lease:
        claim = newest_claim(tmp_path)
        assert claim is not None
        # As another machine sees it: the same claim, of a process that is not there.
        lease._own = replace(lease._own, claim=replace(claim, process=ELSEWHERE))
        wait_until(lambda: getattr(newest_claim(tmp_path), "process", None) == ELSEWHERE)
        holder = holder_of(tmp_path, longest_s=60)
        assert holder is not None
        assert holder.is_live
    assert try_to_claim(tmp_path, replace(claim, token=2)) is None
