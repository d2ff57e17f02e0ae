"""A trial over a limit is not trained further and never ranked; the sampler learns from it."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from invented_curves import rising
from optuna.trial import FrozenTrial, TrialState
from searching import SearchRunner, optuna_trials, search_here, space_with

from dexsearch.config.space import LimitsConfig, SearchSpace
from dexsearch.config.trial import TrialConfig
from dexsearch.errors import ConfigurationError
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study
from dexsearch.models.counting import n_generator_parameters
from dexsearch.search.limits import broken_limit, excesses
from dexsearch.search.study_rebuild import replayed
from dexsearch.search.trial import Assignment, Record

WIDTHS = {
    "generator.width": {"choice": [8, 16, 32]},
    "generator.depth": {"int": [2, 4]},
    "loss.adversarial": {"choice": ["lsgan", "none"]},
    "optimizer.learning_rate": {"float": [1e-4, 1e-2], "log": True},
}
PARAMETERS = 100_000
LATENCY_MS = 10.0


def timed(assignment: Assignment) -> Iterator[Record]:
    """Deeper networks take longer: 4, 8 and 12 ms."""
    for record in rising(assignment):
        depth = TrialConfig.model_validate(assignment.config).generator.depth
        late = {"latency_ms": 4.0 * (depth - 1)} if record["epoch"] == 1 else {}
        yield {**record, **late}


def over(record: StudyRecord) -> list[int]:
    return [trial.number for trial in record.trials if trial.kind == "limit"]


def rungs(trial: FrozenTrial) -> dict[str, float]:
    """Return what successive halving remembers of a trial."""
    return {k: v for k, v in trial.system_attrs.items() if k.startswith("completed_rung")}


def test_a_configuration_over_the_parameters_is_never_trained(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    search_here(
        folder, rising, trials=16, search=WIDTHS, limits={"parameters": PARAMETERS},
        pruner={"kind": "none"},
    )  # fmt: skip
    record = read_study(folder)
    assert 0 < len(over(record)) < 16
    for trial in record.trials:
        count = n_generator_parameters(TrialConfig.model_validate(trial.config))
        assert trial.n_parameters == count
        assert (trial.kind == "limit") == (count > PARAMETERS)
        if trial.kind == "limit":
            assert (trial.state, trial.epochs, trial.checkpoint) == ("pruned", {}, None)
            assert trial.reason is not None
            assert f"{count:,} parameters, limits.parameters is 100,000" in trial.reason
            assert not (folder / "trials" / str(trial.number)).exists(), "no worker was asked"
        else:
            assert trial.state == "complete"
    assert not set(over(record)) & {trial.number for trial in record.ranking()}


def test_a_latency_over_the_limit_ends_a_trial_after_its_first_epoch(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    pruner = {"min_epochs": 2, "immune_every": 2}
    search_here(folder, timed, trials=16, search=WIDTHS, pruner=pruner,
                limits={"latency_ms": LATENCY_MS})  # fmt: skip
    record = read_study(folder)
    immune = [trial for trial in record.trials if trial.immune and trial.kind == "limit"]
    assert immune, "immunity is from the pruner, not from a limit"
    for trial in record.trials:
        is_over = trial.config["generator"]["depth"] == 4
        assert (trial.kind == "limit") == is_over
        if is_over:
            assert (trial.state, trial.last_epoch) == ("pruned", 1)
            assert trial.reason == "one image takes 12 ms, limits.latency_ms is 10"
            assert trial.would_prune_at is None


def test_a_trial_of_one_epoch_that_is_too_slow_is_not_complete(tmp_path: Path) -> None:
    search_here(
        tmp_path / "s", timed, trials=8, epochs=1, search=WIDTHS, pruner={"kind": "none"},
        limits={"latency_ms": LATENCY_MS},
    )  # fmt: skip
    record = read_study(tmp_path / "s")
    assert over(record)
    assert {trial.config["generator"]["depth"] for trial in record.ranking()} <= {2, 3}


def test_the_study_has_the_constraints_also_after_a_rebuild(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    changes = {"search": WIDTHS, "limits": {"parameters": PARAMETERS, "latency_ms": LATENCY_MS}}
    search_here(folder, timed, trials=12, **changes)  # type: ignore[arg-type]
    before = [(t.state, t.constraints) for t in optuna_trials(folder)]
    for trial, (state, constraints) in zip(read_study(folder).trials, before, strict=True):
        assert trial.n_parameters is not None
        assert constraints["parameters"] == trial.n_parameters / PARAMETERS - 1
        if constraints["parameters"] > 0:
            assert "latency_ms" not in constraints, "it was never trained"
        else:
            assert constraints["latency_ms"] == trial.epochs[1]["latency_ms"] / LATENCY_MS - 1
        assert (state == TrialState.PRUNED) or trial.kind != "limit"
    (folder / "study.db").unlink()
    search_here(folder, timed, trials=13, **changes)  # type: ignore[arg-type]
    assert [(t.state, t.constraints) for t in optuna_trials(folder)[:12]] == before


def test_tpe_learns_to_keep_a_limit(tmp_path: Path) -> None:
    """The score does not depend on the size: nothing but the constraint speaks against it."""
    search = {
        "generator.width": {"int": [4, 64]},
        "optimizer.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    }
    most = 1_000_000
    changes = {"epochs": 1, "search": search, "pruner": {"kind": "none"}, "trials": 60,
               "sampler": {"kind": "tpe"}}  # fmt: skip
    search_here(tmp_path / "free", rising, slots=1, **changes)  # type: ignore[arg-type]
    search_here(tmp_path / "held", rising, slots=1, limits={"parameters": most},
                **changes)  # type: ignore[arg-type]  # fmt: skip

    def n_over(name: str) -> int:
        trials = read_study(tmp_path / name).trials[30:]
        counts = [n_generator_parameters(TrialConfig.model_validate(t.config)) for t in trials]
        return sum(count > most for count in counts)

    assert n_over("held") < n_over("free") / 2


def test_a_trial_over_a_limit_whose_end_was_not_written_is_ended_and_not_trained(
    tmp_path: Path,
) -> None:
    """The process was killed just before it wrote the end: of a count, or of a first epoch."""
    folder = tmp_path / "s"
    changes = {"search": WIDTHS, "limits": {"parameters": PARAMETERS, "latency_ms": LATENCY_MS}}
    search_here(folder, timed, slots=1, trials=12, **changes)  # type: ignore[arg-type]
    whole = read_study(folder)
    for number in over(whole):
        events = (folder / LEDGER_NAME).read_text().splitlines()
        ends = [n for n, line in enumerate(events)
                if (event := json.loads(line))["event"] == "trial_ended"
                and event["trial"] == number]  # fmt: skip
        here = tmp_path / f"killed-{number}" / "s"
        here.mkdir(parents=True)
        (here / LEDGER_NAME).write_text("\n".join(events[: ends[0]]) + "\n")
        search_here(here, timed, slots=1, trials=12, **changes)  # type: ignore[arg-type]
        trial = read_study(here).trials[number]
        assert (trial.state, trial.kind) == ("pruned", "limit")
        assert trial.epochs == whole.trials[number].epochs
        assert "trial_continued" not in {
            event["event"]
            for event in read_events(here / LEDGER_NAME)
            if event.get("trial") == number
        }


def test_the_pruner_never_hears_of_what_is_over_a_limit_rebuilt_or_not(tmp_path: Path) -> None:
    """Its rungs would count trials that no legal one has to beat."""
    folder = tmp_path / "s"
    search_here(
        folder, timed, slots=1, trials=12, search=WIDTHS, limits={"latency_ms": LATENCY_MS},
        pruner={"kind": "successive_halving", "min_epochs": 1, "immune_every": 0},
    )  # fmt: skip
    limited = over(read_study(folder))
    assert limited
    lived = [rungs(trial) for trial in optuna_trials(folder)]
    assert any(lived)
    assert not any(lived[number] for number in limited)
    record = read_study(folder)
    space = SearchSpace.model_validate(record.space)
    rebuilt = replayed("s", read_events(folder / LEDGER_NAME), space)
    assert [rungs(trial) for trial in rebuilt.get_trials()] == lived


def test_without_a_limit_nothing_is_counted_or_stored(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=3)
    assert all(not trial.constraints for trial in optuna_trials(tmp_path / "s"))
    started = [
        e for e in read_events(tmp_path / "s" / LEDGER_NAME) if e["event"] == "trial_started"
    ]
    assert all("parameters" not in event for event in started)
    with sqlite3.connect(tmp_path / "s" / "study.db") as connection:
        (count,) = connection.execute("SELECT COUNT(*) FROM trial_system_attributes").fetchone()
    connection.close()
    assert isinstance(count, int)


def test_a_limit_cannot_be_changed_within_a_study(tmp_path: Path) -> None:
    search_here(tmp_path / "s", rising, trials=2)
    with pytest.raises(ConfigurationError, match=r"limits\.parameters nothing -> 5"):
        search_here(tmp_path / "s", rising, trials=3, limits={"parameters": 5})


def test_an_excess_is_a_part_of_its_limit() -> None:
    limits = LimitsConfig(parameters=200, latency_ms=10)
    assert excesses(limits, n_parameters=300, latency_ms=5) == {
        "parameters": 0.5, "latency_ms": -0.5,
    }  # fmt: skip
    assert excesses(LimitsConfig(), n_parameters=300, latency_ms=5) == {}
    assert broken_limit(limits, n_parameters=200, latency_ms=10) is None, "at the limit is within"
    assert broken_limit(limits, n_parameters=None, latency_ms=None) is None


@pytest.mark.parametrize("limits", [{"parameters": 0}, {"latency_ms": -1}, {"seconds": 4}])
def test_a_senseless_limit_is_refused(limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"parameters|latency_ms|seconds"):
        space_with(limits=limits)


def test_limits_hold_on_every_backend(search: SearchRunner, tmp_path: Path) -> None:
    ended = search(tmp_path / "s", "rising", trials=6, search=WIDTHS,
                   limits={"parameters": PARAMETERS})  # fmt: skip
    assert ended.exit_code == 0
    record = read_study(tmp_path / "s")
    assert {trial.state for trial in record.trials} <= {"complete", "pruned"}
    assert over(record)
    assert all(not trial.epochs for trial in record.trials if trial.kind == "limit")
