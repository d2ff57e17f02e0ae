import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dexsearch.errors import (
    ConfigurationError,
    DataError,
    EnvironmentFault,
    NotPromoted,
    NotRegistered,
    StudyBusy,
)
from dexsearch.jobs import promote as jobs_promote
from dexsearch.jobs.compare import candidate, compare_models
from dexsearch.jobs.models import open_model
from dexsearch.jobs.promote import Promotion, promote_model, roll_back, show_in_mlflow
from dexsearch.ledger.log import read_events
from dexsearch.registry import mirror, promotion
from dexsearch.registry.promotion import Why, move_champion
from dexsearch.registry.record import (
    CHALLENGER,
    CHAMPION,
    LOG_NAME,
    PREVIOUS,
    read_registry,
    registry_from_events,
)
from dexsearch.registry.store import open_log, register

sys.path.insert(0, str(Path(__file__).parents[1] / "registry" / "support"))
from hold_out import HoldOut, make_hold_out

BONE = "dexsearch-bone"


@pytest.fixture
def own(tmp_path: Path) -> HoldOut:
    """Champion 1 of middling worth; 2 is better, 3 worse."""
    found = make_hold_out(tmp_path / "workspace", 8, n_poses=1)
    found.register(0.6, 1.0, 0.2, task="bone")
    return found


def promote(
    own: HoldOut, model: str, *, forced: bool = False, reason: str | None = None
) -> Promotion:
    return promote_model(
        own.workspace, model, forced=forced, reason=reason, margin=0.005,
        data=own.dataset.path, progress=lambda done, total: None,
    )  # fmt: skip


def aliases(own: HoldOut) -> dict[str, int]:
    return {alias: n for (_, alias), n in read_registry(own.workspace).aliases.items()}


def set_alias(own: HoldOut, alias: str, version: int | None) -> None:
    with open_log(own.workspace) as log:
        log.append({"event": "alias", "name": BONE, "alias": alias, "version": version})


def test_a_better_challenger_becomes_champion_and_the_champion_previous(own: HoldOut) -> None:
    set_alias(own, CHALLENGER, 2)
    done = promote(own, f"{BONE}@challenger", reason="for the paper")
    assert aliases(own) == {CHAMPION: 2, PREVIOUS: 1}
    done.refuse_unless_moved()
    registry = read_registry(own.workspace)
    previous, champion, challenger = registry.moves[-3:]
    assert (previous.alias, previous.version, previous.previous) == (PREVIOUS, 1, None)
    assert (champion.alias, champion.version, champion.previous) == (CHAMPION, 2, 1)
    assert (challenger.alias, challenger.version) == (CHALLENGER, None)
    assert champion.look == registry.looks[-1].look == registry.evidence[-1].look
    assert registry.looks[-1].purpose == "promote"
    assert not champion.forced
    assert champion.reason.startswith("better than version 1 on the hold-out: +")
    assert champion.reason.endswith("8 subjects; for the paper")
    told = done.as_json()
    assert (told["promoted"], told["champion"], told["previous_champion"]) == (True, 2, 1)
    assert told["evidence"]["verdict"] == "better"


def test_a_worse_one_leaves_the_champion_and_ends_with_code_five(own: HoldOut) -> None:
    done = promote(own, f"{BONE}/3")
    assert aliases(own) == {CHAMPION: 1}
    with pytest.raises(NotPromoted, match="worse; champion moves on 'better' alone") as refused:
        done.refuse_unless_moved()
    assert refused.value.exit_code == 5
    assert done.as_json()["promoted"] is False
    registry = read_registry(own.workspace)
    assert (len(registry.looks), registry.evidence[0].verdict) == (1, "worse")


def test_too_few_subjects_promote_nothing(tmp_path: Path) -> None:
    few = make_hold_out(tmp_path / "few", 7, n_poses=1)
    few.register(0.2, 1.0, task="bone")
    done = promote(few, f"{BONE}/2")
    assert done.evidence is not None
    assert done.evidence.comparison.verdict == "inconclusive: 7 subjects"
    assert aliases(few) == {CHAMPION: 1}


def test_the_champion_itself_is_refused_without_a_look(own: HoldOut) -> None:
    for model in (BONE, f"{BONE}@champion", f"{BONE}/1"):
        with pytest.raises(ConfigurationError, match="is dexsearch-bone@champion already"):
            promote(own, model)
    with pytest.raises(ConfigurationError, match="already"):
        promote(own, f"{BONE}/1", forced=True, reason="I like it")
    assert read_registry(own.workspace).looks == ()


def test_unknown_names_versions_and_folders_are_refused(own: HoldOut) -> None:
    for model in ("dexsearch-bones/2", f"{BONE}/9", f"{BONE}@best"):
        with pytest.raises(NotRegistered):
            promote(own, model)
    with pytest.raises(ConfigurationError, match="is a folder; champion points to a registered"):
        promote(own, str(own.dataset.path))


def test_force_needs_a_reason_and_looks_at_nothing(own: HoldOut) -> None:
    for reason in (None, "", "  "):
        with pytest.raises(ConfigurationError, match="needs a reason"):
            promote(own, f"{BONE}/3", forced=True, reason=reason)
    done = promote(own, f"{BONE}/3", forced=True, reason="fewer ghosts")
    assert aliases(own) == {CHAMPION: 3, PREVIOUS: 1}
    registry = read_registry(own.workspace)
    move = registry.moves[-1]
    assert (move.reason, move.forced, move.look) == ("fewer ghosts", True, None)
    assert registry.looks == ()
    assert done.as_json()["evidence"] is None


def test_a_champion_of_another_dataset_is_replaced_by_force_alone(own: HoldOut) -> None:
    register(own.workspace, [own.package(1.0, task="bone", trial=7, dataset="e" * 64)])
    with pytest.raises(ConfigurationError, match="cannot be compared with the champion") as no:
        promote(own, f"{BONE}/4")
    assert "--force" in str(no.value.hint)
    assert read_registry(own.workspace).looks == ()
    promote(own, f"{BONE}/4", forced=True, reason="new data")
    assert aliases(own)[CHAMPION] == 4


def test_a_damaged_package_never_becomes_champion(own: HoldOut) -> None:
    version = read_registry(own.workspace).find(f"{BONE}/2")
    weights = own.workspace / version.package / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for forced in (False, True):
        with pytest.raises(DataError, match=r"weights\.safetensors"):
            promote(own, f"{BONE}/2", forced=forced, reason="whatever")
    assert aliases(own) == {CHAMPION: 1}


def test_a_holdout_that_was_taken_away_promotes_nothing(own: HoldOut) -> None:
    (own.dataset.path / "holdout" / "input.npy").unlink()
    with pytest.raises(DataError, match="hold-out cannot be opened"):
        promote(own, f"{BONE}/2")
    with pytest.raises(DataError, match="hold-out cannot be opened"):
        compare_models(
            own.workspace, f"{BONE}/2", f"{BONE}/1", target=None, margin=0.005,
            data=own.dataset.path, progress=lambda done, total: None,
        )  # fmt: skip
    assert read_registry(own.workspace).looks == ()


def test_a_champion_that_moved_meanwhile_is_not_overwritten(
    own: HoldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = jobs_promote._look

    def slow(*args: object, **more: object) -> object:
        found = real(*args, **more)  # type: ignore[arg-type]
        set_alias(own, CHAMPION, 3)
        return found

    monkeypatch.setattr(jobs_promote, "_look", slow)
    with pytest.raises(StudyBusy, match="is version 3 by now, but the evidence is"):
        promote(own, f"{BONE}/2")
    assert aliases(own) == {CHAMPION: 3}
    assert read_registry(own.workspace).evidence[0].verdict == "better"  # and stays on record


def test_without_a_champion_the_first_one_needs_no_evidence(own: HoldOut) -> None:
    set_alias(own, CHAMPION, None)
    promote(own, f"{BONE}/3")
    assert aliases(own) == {CHAMPION: 3}
    assert read_registry(own.workspace).moves[-1].reason == "the name had no champion"


def _move(workspace: Path, version: int, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    try:
        move_champion(workspace, BONE, version, expected=1, why=Why("both at once"))
        results.put((version, "moved"))  # type: ignore[attr-defined]
    except StudyBusy:
        results.put((version, "refused"))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_of_two_promotions_at_once_one_is_refused(own: HoldOut) -> None:
    """Two processes with evidence against the same champion."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    children = [
        context.Process(target=_move, args=(own.workspace, version, barrier, results))
        for version in (2, 3)
    ]
    for child in children:
        child.start()
    outcomes = dict(results.get(timeout=120) for _ in children)
    for child in children:
        child.join()
    assert sorted(outcomes.values()) == ["moved", "refused"]
    winner = next(version for version, what in outcomes.items() if what == "moved")
    assert aliases(own) == {CHAMPION: winner, PREVIOUS: 1}


def test_a_crash_between_the_two_moves_leaves_the_champion(
    own: HoldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_of = promotion.open_log

    class Crash(Exception):
        pass

    def crashing(workspace: Path) -> object:
        log = log_of(workspace)
        append = log.append

        def once(event: dict[str, object]) -> object:
            append(event)
            raise Crash

        monkeypatch.setattr(log, "append", once)
        return log

    monkeypatch.setattr(promotion, "open_log", crashing)
    with pytest.raises(Crash):
        promote(own, f"{BONE}/2", forced=True, reason="x")
    assert aliases(own)[CHAMPION] == 1
    monkeypatch.undo()
    promote(own, f"{BONE}/2", forced=True, reason="again")
    assert aliases(own) == {CHAMPION: 2, PREVIOUS: 1}


def test_what_is_not_in_the_log_afterwards_is_told(
    own: HoldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_events(own.workspace / LOG_NAME)
    monkeypatch.setattr(
        promotion, "read_registry", lambda workspace: registry_from_events(before, workspace)
    )
    with pytest.raises(EnvironmentFault, match="was written as version 1, but the registry says"):
        promote(own, f"{BONE}/2", forced=True, reason="x")


def test_rolling_back_swaps_and_swaps_again(own: HoldOut) -> None:
    promote(own, f"{BONE}/2", forced=True, reason="x")
    roll_back(own.workspace, BONE, reason="ghosts")
    assert aliases(own) == {CHAMPION: 1, PREVIOUS: 2}
    move = read_registry(own.workspace).moves[-1]
    assert (move.reason, move.forced, move.previous) == ("rolled back; ghosts", True, 2)
    roll_back(own.workspace, BONE, reason=None)
    assert aliases(own) == {CHAMPION: 2, PREVIOUS: 1}


def test_there_may_be_nothing_to_go_back_to(own: HoldOut) -> None:
    with pytest.raises(ConfigurationError, match="nothing to go back to"):
        roll_back(own.workspace, BONE, reason=None)
    with pytest.raises(NotRegistered, match="known names: dexsearch-bone"):
        roll_back(own.workspace, "dexsearch-ribs", reason=None)


def test_a_former_champion_that_is_damaged_does_not_come_back(own: HoldOut) -> None:
    promote(own, f"{BONE}/2", forced=True, reason="x")
    version = read_registry(own.workspace).find(f"{BONE}/1")
    (own.workspace / version.package / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"weights\.safetensors"):
        roll_back(own.workspace, BONE, reason=None)
    assert aliases(own)[CHAMPION] == 2


def test_an_mlflow_that_fails_is_told_of(own: HoldOut, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise EnvironmentFault("MLflow does not answer")

    monkeypatch.setattr(mirror, "sync_workspace", refuses)
    told: list[str] = []
    show_in_mlflow(own.workspace, None, told.append)
    assert "MLflow does not answer" in told[0]
    assert "nothing is lost; dexsearch sync" in told[1]


def test_a_downloaded_folder_is_compared_like_a_version(own: HoldOut, tmp_path: Path) -> None:
    own.package(1.0, task="bone", trial=9, folder=tmp_path / "mine")
    found = compare_models(
        own.workspace, str(tmp_path / "mine"), f"{BONE}/1", target="bone", margin=0.005,
        data=own.dataset.path, progress=lambda done, total: None,
    )  # fmt: skip
    assert (found.comparison.a, found.comparison.b) == (str(tmp_path / "mine"), f"{BONE}/1")
    assert found.comparison.verdict == "better"
    assert aliases(own) == {CHAMPION: 1}
    assert replace(found, n_looks=1).as_json()["purpose"] == "compare"


def test_a_folder_called_like_a_version_never_takes_its_place(
    own: HoldOut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bad generator in ./dexsearch-bone/1, version 3 would beat "version 1"."""
    own.package(0.05, task="bone", trial=9, folder=tmp_path / BONE / "1")
    own.package(0.05, task="bone", trial=9, folder=tmp_path / BONE / "3")
    monkeypatch.chdir(tmp_path)
    assert promote(own, f"{BONE}/3").evidence is not None
    assert aliases(own) == {CHAMPION: 1}
    versions = {
        v.version: own.workspace / v.package for v in read_registry(own.workspace).versions
    }
    assert open_model(f"{BONE}/1", own.workspace).path == versions[1]
    assert open_model(f"./{BONE}/1", own.workspace).path == Path(BONE, "1")
    folder = candidate(own.workspace, f"./{BONE}/1").label
    assert folder == str(tmp_path / BONE / "1")
