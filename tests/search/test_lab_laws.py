"""The laws of the fault lab see what they are there to see; the lab itself needs root."""

import sys
from pathlib import Path

import pytest
from invented_curves import rising
from searching import search_here

from dexsearch.ledger.log import read_events

sys.path.append(str(Path(__file__).parents[1] / "lab" / "support"))

from faults import BY_NAME
from laws import assert_kept, assert_whole, part_done
from table import Row


class Killed(BaseException):
    """As SIGKILL, it runs nothing on its way."""


def test_a_ledger_that_lost_events_before_a_restart_is_seen_although_it_is_whole_at_the_end(
    tmp_path: Path,
) -> None:
    folder, n_records = tmp_path / "s", 0

    def until_killed(assignment):  # noqa: ANN001, ANN202
        nonlocal n_records
        for record in rising(assignment):
            n_records += 1
            if n_records == 20:
                raise Killed
            yield record

    with pytest.raises(Killed):
        search_here(folder, until_killed, slots=1, trials=4, pruner={"kind": "none"})
    ledger = folder / "ledger.jsonl"
    before = read_events(ledger)
    assert 0 < part_done(folder) < 1
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-7]))
    search_here(folder, rising, slots=1, trials=4, pruner={"kind": "none"})
    assert assert_whole(folder, 4, states=("complete",)).told == "0 / 0"
    assert part_done(folder) == 1
    with pytest.raises(AssertionError, match=r"^[1-7] events that were in the ledger are gone"):
        assert_kept(before, read_events(ledger))


def test_a_ledger_that_only_grew_has_kept_everything() -> None:
    events = [{"event": "epoch", "time": float(n)} for n in range(5)]
    assert_kept([], events)
    assert_kept(events[:3], events)
    with pytest.raises(AssertionError, match="2 events"):
        assert_kept(events, events[:3])
    with pytest.raises(AssertionError, match="4 events"):
        assert_kept(events, [events[0], {"event": "other"}, *events[2:]])


@pytest.mark.parametrize(
    ("training_s", "verdict"),
    [(2.9, "<= 3 s: met"), (3.1, "<= 3 s: **missed**"), (None, "<= 3 s: not measured")],
)
def test_the_table_says_itself_whether_what_is_required_was_met(
    training_s: float | None, verdict: str
) -> None:
    row = Row(BY_NAME["trial_killed"], training_s=training_s)
    assert f"| {verdict} |" in str(row)


def test_a_case_that_failed_or_has_nothing_required_meets_nothing() -> None:
    assert Row(BY_NAME["node_killed"], training_s=1.0, failure="no").verdict.endswith(
        "not measured"
    )
    assert Row(BY_NAME["nan"], training_s=1.0).verdict == "-"
