import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest
from searching import SPACE, space_with

from dexsearch.errors import ConfigurationError
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study, study_from_events
from dexsearch.search.continuation import StudyRequest, refuse_changed
from dexsearch.search.machine import this_machine
from dexsearch.search.study_opening import _opened_events


def request_with(digest: str = "a" * 64, metric: int = 1, **changes: object) -> StudyRequest:
    return StudyRequest("s", space_with(**changes), Path("d"), digest, (64, 64), metric)


def begun(**changes: object) -> StudyRecord:
    return study_from_events([request_with(**changes).as_event()], Path("studies/s"))


def test_the_same_search_and_more_or_fewer_trials_are_welcome() -> None:
    for changes in (
        {},
        {"trials": 99},
        {"trials": 1},
        {"register": 9},
        {"resources": {"cpus": 2}},
        {"data": {"path": "moved/x"}},
    ):
        refuse_changed(begun(), request_with(**changes))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 12}, "epochs 9 -> 12"),
        ({"task": "bone"}, "task joint -> bone"),
        ({"objective": "val_ssim_bone"}, "objective val_ssim -> val_ssim_bone"),
        ({"sampler": {"seed": 1}}, "sampler.seed 0 -> 1"),
        ({"pruner": {**SPACE["pruner"], "reduction": 5}}, "pruner.reduction 4 -> 5"),
        ({"fixed": {"batch_size": 4}}, "fixed {} -> nothing; fixed.batch_size nothing -> 4"),
        ({"enqueue": [{"generator.depth": 2}]}, "enqueue [] -> [{'generator.depth': 2}]"),
        ({"digest": "b" * 64}, "data aaaaaaaaaaaa -> bbbbbbbbbbbb"),
        ({"metric": 2}, "metric definition 1 -> 2"),
        (
            {"search": {**SPACE["search"], "generator.depth": {"int": [2, 5]}}},
            r"search.generator.depth.int [2, 4] -> [2, 5]",
        ),
    ],
)
def test_another_search_under_the_same_name_is_refused_with_the_difference(
    changes: dict[str, object], difference: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        refuse_changed(begun(), request_with(**changes))  # type: ignore[arg-type]
    assert str(refused.value) == f"study 's' was begun as another search: {difference}"
    assert "--study NEW-NAME" in (refused.value.hint or "")


def test_where_all_is_enqueued_what_has_not_begun_may_change() -> None:
    one, two, three = ({"generator.depth": depth} for depth in (2, 3, 4))
    asked = request_with(trials=2, enqueue=[one, two])
    start = {"event": "trial_started", "trial": 0, "params": one, "config": {}, "immune": False,
             "enqueued": True, "time": 1.0}  # fmt: skip
    record = study_from_events([asked.as_event(), start], Path("studies/s"))
    for enqueue in ([one, three], [one], [one, two, three]):
        refuse_changed(record, request_with(trials=len(enqueue), enqueue=enqueue))
    for enqueue, trials in (([two, one], 2), ([one, three], 3)):
        with pytest.raises(ConfigurationError, match="enqueue"):
            refuse_changed(record, request_with(trials=trials, enqueue=enqueue))


def test_another_machine_is_welcome_and_both_are_remembered() -> None:
    here = {"processor": "A", "cpus": 2, "gpus": []}
    there = {"processor": "B", "cpus": 64, "gpus": ["G"]}
    events = [replace(request_with(), machine=one).as_event() for one in (here, there, here)]
    record = study_from_events([*events, request_with().as_event()], Path("s"))
    assert record.machines == (here, there)
    refuse_changed(record, replace(request_with(), machine=here))
    assert begun().machines == ()
    assert "machine" not in request_with().as_event()


def test_another_machine_is_written_once_and_only_if_trials_are_left(tmp_path: Path) -> None:
    one, two, three = ({"processor": name, "cpus": 2, "gpus": []} for name in "ABC")
    for machine, n_events in ((one, 1), (one, 1), (two, 2), (one, 2), (None, 2)):
        with EventLog(tmp_path / LEDGER_NAME) as log:
            asked = replace(request_with(trials=1), machine=machine)
            assert len(_opened_events(log, asked, tmp_path, token=None)) == n_events
    with EventLog(tmp_path / LEDGER_NAME) as log:
        log.append(
            {"event": "trial_started", "trial": 0, "params": {}, "config": {}, "immune": False,
             "enqueued": False}
        )  # fmt: skip
        log.append({"event": "trial_ended", "trial": 0, "state": "failed"})
    with EventLog(tmp_path / LEDGER_NAME) as log:
        asked = replace(request_with(trials=1), machine=three)
        assert len(_opened_events(log, asked, tmp_path, token=None)) == 4
    assert read_study(tmp_path).machines == (one, two)


def test_this_machine_is_told_without_its_name() -> None:
    found = this_machine()
    assert set(found) == {"processor", "cpus", "gpus"}
    assert found["processor"]
    assert found["cpus"] >= 1
    assert platform.node() not in json.dumps(found)


def test_many_differences_are_counted() -> None:
    with pytest.raises(ConfigurationError, match="; and 5 more"):
        refuse_changed(
            begun(), request_with(search={"generator.width": {"int": [1, 2]}}, epochs=20)
        )


def test_a_key_that_is_new_since_then_has_its_default() -> None:
    event = request_with().as_event()
    del event["space"]["pruner"]["percentile"]
    refuse_changed(study_from_events([event], Path("s")), request_with())
