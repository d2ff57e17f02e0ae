"""What happens to leases rarely: lost answers, watchers that were suspended, many heirs."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from lease_processes import QUICK
from leases import ELSEWHERE, claimed_by, silent

from dexsearch.errors import StudyBusy
from dexsearch.search import lease as lease_module
from dexsearch.search import lease_file
from dexsearch.search.lease import shows_life, study_lease
from dexsearch.search.lease_file import new_claim, newest_claim, try_to_claim


@pytest.mark.parametrize("n_heirs", [1, lease_file.KEPT, lease_file.KEPT + 1, 3 * lease_file.KEPT])
def test_a_holder_that_was_followed_stays_so_however_many_came_after_it(
    n_heirs: int, tmp_path: Path
) -> None:
    with study_lease(tmp_path, takeover=False, tell=silent) as lease:
        lease.check()
        for token in range(2, n_heirs + 2):
            claimed_by(tmp_path, ELSEWHERE, token=token)
        with pytest.raises(StudyBusy, match=r"taken over by .* on node7"):
            lease.check()


def test_a_holder_whose_folder_is_gone_is_told_without_a_name(tmp_path: Path) -> None:
    with study_lease(tmp_path / "s", takeover=False, tell=silent) as lease:
        (tmp_path / "s").rename(tmp_path / "moved")
        with pytest.raises(StudyBusy, match="taken over by somebody whose claim is gone"):
            lease.check()


def test_a_file_system_that_does_not_answer_takes_no_study_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error")

    with study_lease(tmp_path, takeover=False, tell=silent) as lease:
        with monkeypatch.context() as patched:
            answers = SimpleNamespace(access=os.access, stat=failing, F_OK=os.F_OK)
            patched.setattr(lease_file, "os", answers)
            lease.check()
        lease.check()


def test_a_link_that_was_made_counts_although_its_answer_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As happens on NFS."""
    link = os.link

    def made_and_lost(source: Path, target: Path) -> None:
        link(source, target)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(lease_file.os, "link", made_and_lost)
    own = try_to_claim(tmp_path, new_claim(1))
    assert own is not None
    own.close()
    assert newest_claim(tmp_path) == own.claim


def test_a_link_that_was_not_made_is_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(lease_file.os, "link", lost)
    with pytest.raises(OSError, match="Input/output"):
        try_to_claim(tmp_path, new_claim(1))
    assert newest_claim(tmp_path) is None


@pytest.mark.parametrize(("beats_at_look", "is_seen"), [(3, True), (200, False)])
def test_a_watcher_that_was_suspended_has_not_watched_meanwhile(
    beats_at_look: int, is_seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first look takes an hour, after which the holder beats once more, or does not."""
    claim = claimed_by(tmp_path, ELSEWHERE)
    clock = SimpleNamespace(now=0.0, looks=0)

    def sleep(seconds: float) -> None:
        clock.now += seconds if clock.looks else 3600.0
        clock.looks += 1
        if clock.looks == beats_at_look:
            claimed_by(tmp_path, ELSEWHERE, token=2)

    fake = SimpleNamespace(sleep=sleep, monotonic=lambda: clock.now)
    monkeypatch.setattr(lease_module, "time", fake)
    assert shows_life(tmp_path, claim, longest_s=30.0, look_s=0.5) == is_seen
    assert clock.looks == (3 if is_seen else 59), "half a minute of its own looking"


@pytest.mark.parametrize("is_settled", [True, False])
def test_who_was_put_aside_once_is_outlived_no_more(is_settled: bool, tmp_path: Path) -> None:
    silent_holder = claimed_by(tmp_path, ELSEWHERE)
    with study_lease(tmp_path, takeover=True, tell=silent, pace=QUICK) as second:
        assert second.outlived == (silent_holder,)
        if is_settled:
            second.settle()
    with study_lease(tmp_path, takeover=False, tell=silent) as third:
        assert third.outlived == (() if is_settled else (silent_holder,))
