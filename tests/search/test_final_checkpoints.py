"""A trial is complete where its last checkpoint is seen, if its trials save at all."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from invented_curves import rising
from searching import check_study, space_with

from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.log import read_events
from dexsearch.search.driver import StudyDriver
from dexsearch.search.in_process import InProcessBackend
from dexsearch.search.progress import SilentProgress
from dexsearch.search.study import run_study
from dexsearch.search.trial import Assignment, Record, TrialFunction

EPOCHS = 9


@dataclass(frozen=True)
class Saving:
    """Runs trials of which the driver expects that they save."""

    function: TrialFunction

    def run(self, driver: StudyDriver) -> None:
        driver.checkpoints.is_promised = True
        InProcessBackend(self.function).run(driver)


def elsewhere(assignment: Assignment) -> Iterator[Record]:
    """Save where the driver does not see it."""
    return rising(replace(assignment, checkpoints=f"{assignment.checkpoints}-of-another-disk"))


def elsewhere_once(assignment: Assignment) -> Iterator[Record]:
    """The same in the first attempt of each trial."""
    return elsewhere(assignment) if assignment.attempt == 0 else rising(assignment)


def search(folder: Path, function: TrialFunction) -> None:
    run_study(
        space_with(pruner={"kind": "none"}, trials=2), study=folder.name, folder=folder,
        dataset=Path("datasets/x"), dataset_digest="digest", size_px=(64, 64),
        progress=SilentProgress(), backend=Saving(function),
    )  # fmt: skip


def setbacks(folder: Path) -> list[tuple[int, str | None]]:
    events = read_events(folder / "ledger.jsonl")
    return [(e["trial"], e.get("kind")) for e in events if e["event"] == "trial_continued"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a shared folder that shows files late."""
    monkeypatch.setattr("dexsearch.search.storage._SEEN_WITHIN_S", 0.0)


def test_a_trial_whose_last_checkpoint_is_missing_is_trained_again_and_recorded_once(
    tmp_path: Path,
) -> None:
    search(tmp_path / "s", elsewhere_once)
    record = check_study(tmp_path / "s", trials=2, epochs=EPOCHS)
    assert [t.checkpoint for t in record.trials] == ["trials/0/00009", "trials/1/00009"]
    assert sorted(setbacks(tmp_path / "s")) == [(0, "unsaved"), (1, "unsaved")]


def test_where_it_is_missing_again_the_search_stops_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    with pytest.raises(EnvironmentFault, match="does not appear in the storage"):
        search(tmp_path / "s", elsewhere)
    search(tmp_path / "s", rising)
    record = check_study(tmp_path / "s", trials=2, epochs=EPOCHS)
    assert {trial.state for trial in record.trials} == {"complete"}
    assert all(trial.checkpoint for trial in record.trials)
