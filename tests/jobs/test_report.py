"""Gathering a report: from ledgers written here, and one really trained study."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from dexsearch.config.yaml_file import load_space
from dexsearch.data.store import Dataset
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.register import register_study
from dexsearch.jobs.report import write_report
from dexsearch.jobs.report_quality import quality_tables
from dexsearch.jobs.report_verdict import judge, seed_noise
from dexsearch.ledger.log import EventLog, read_events
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, TrialRecord, read_study
from dexsearch.search.audit import audit
from dexsearch.search.importance import early_importances, final_importances

HOSTILE = "</title><script>alert(1)</script>\x1b[2J"


class Trained(Protocol):
    workspace: Path
    study: StudyRecord
    dataset: Dataset


def ledger(workspace: Path, name: str = "ribs", *, n_complete: int = 2, reason: str = "x") -> Path:
    """Write a study of `n_complete` complete trials, a failed one and a running one."""
    folder = workspace / "studies" / name
    space = load_space("quickstart.yaml").model_dump(mode="json", by_alias=True)
    with EventLog(folder / LEDGER_NAME) as log:
        log.append(
            {"event": "study", "study": name, "task": "joint", "metric": 1, "space": space,
             "dataset": str(workspace / "datasets" / "gone"), "dataset_digest": "d" * 64}
        )  # fmt: skip
        for number in range(n_complete + 2):
            log.append(
                {"event": "trial_started", "trial": number, "params": {reason: number},
                 "config": {"seed": number}, "immune": False, "enqueued": False}
            )  # fmt: skip
            if number > n_complete:
                break
            record = {"epoch": 1, "val_ssim": 0.5 + number / 10, "seconds": 1.0}
            log.append({"event": "epoch", "trial": number, "record": record})
            state = "complete" if number < n_complete else "failed"
            log.append(
                {"event": "trial_ended", "trial": number, "state": state, "reason": reason,
                 "kind": None, "checkpoint": None}
            )  # fmt: skip
    return folder


def written(workspace: Path, study: str | None = None) -> tuple[str, list[str]]:
    told: list[str] = []
    out = workspace / "report.html"
    result = write_report(workspace, study, out, tell=told.append)
    assert result.bytes == out.stat().st_size
    return out.read_text(encoding="utf-8"), told


def test_what_is_missing_is_told_and_the_report_is_there(tmp_path: Path) -> None:
    ledger(tmp_path)
    page, told = written(tmp_path)
    assert "Trial 1 scored best of 2 complete trials on validation subjects" in page
    assert "The evidence is not enough" in page
    assert "the ledger does not say" in page
    assert any("dataset 'gone'" in line for line in told)
    assert any("runner-up, trial 0, because it is not registered" in line for line in told)
    assert str(tmp_path) not in page


def test_every_machine_that_a_search_ran_on_is_told(tmp_path: Path) -> None:
    machines = [
        {"processor": "Ryzen", "cpus": 8, "gpus": []},
        {"processor": "Xeon", "cpus": 64, "gpus": ["H200", "H200"]},
    ]
    folder = ledger(tmp_path)
    study = read_events(folder / LEDGER_NAME)[0]
    with EventLog(folder / LEDGER_NAME) as log:
        for machine in machines:
            log.append({**study, "machine": machine})
    assert "Ryzen, 8 CPUs, no GPU; then Xeon, 64 CPUs, H200, H200" in written(tmp_path)[0]


def test_a_study_without_a_complete_trial_has_a_report(tmp_path: Path) -> None:
    ledger(tmp_path, n_complete=0)
    page, _ = written(tmp_path)
    assert "No generator has won yet" in page


def test_hostile_names_and_reasons_stay_text(tmp_path: Path) -> None:
    ledger(tmp_path, reason=HOSTILE)
    page, _ = written(tmp_path)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J" in page


def test_the_newest_study_is_the_default(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old")):
        folder = ledger(tmp_path, name)
        os.utime(folder / LEDGER_NAME, (10**9 - age, 10**9 - age))
    assert "<h1>Study new</h1>" in written(tmp_path)[0]
    assert "<h1>Study old</h1>" in written(tmp_path, "old")[0]


def test_an_unknown_study_and_an_unwritable_path_are_refused(tmp_path: Path) -> None:
    ledger(tmp_path)
    with pytest.raises(ConfigurationError, match="no study 'nose'"):
        write_report(tmp_path, "nose", None, tell=print)
    for out in (tmp_path, tmp_path / "nowhere" / "a.html"):
        with pytest.raises(ConfigurationError, match="cannot be written"):
            write_report(tmp_path, None, out, tell=print)


def test_the_command_prints_the_path_and_what_comes_next(tmp_path: Path) -> None:
    ledger(tmp_path)
    command = [sys.executable, "-m", "dexsearch", "report", "--workspace", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "ribs-report.html\n"
    assert (tmp_path / "ribs-report.html").is_file()
    assert "next: open ribs-report.html" in done.stderr
    lost = subprocess.run(
        [*command, "--out", "no/where.html"], cwd=tmp_path, capture_output=True, check=False
    )
    assert lost.returncode == 3


def trial(number: int, score: float, *, params: dict[str, object] | None = None) -> TrialRecord:
    return TrialRecord(
        number=number, params=params or {}, config={"seed": number}, immune=False,
        enqueued=False, epochs={1: {"val_ssim": score}}, state="complete", would_prune_at=None,
        reason=None, kind=None, checkpoint=None, started=0.0, ended=1.0,
    )  # fmt: skip


def study_of(*trials: TrialRecord) -> StudyRecord:
    space = load_space("quickstart.yaml").model_dump(mode="json", by_alias=True)
    space["pruner"]["kind"] = "none"
    return StudyRecord(
        "ribs", Path(), {**space, "trials": len(trials)}, "joint", "val_ssim", "", "d", 1, trials
    )


def test_seed_noise_is_pooled_over_repeats_of_one_configuration() -> None:
    repeats = [trial(n, score) for n, score in enumerate((0.50, 0.52, 0.48, 0.50))]
    noise = seed_noise(study_of(*repeats))
    assert noise is not None
    assert noise.n_repeats == 3
    assert noise.sd == pytest.approx((0.0008 / 3) ** 0.5)
    assert seed_noise(study_of(*repeats[:2])) is None


def test_only_a_lead_beyond_seed_noise_is_enough() -> None:
    repeats = [trial(n, score) for n, score in enumerate((0.50, 0.52, 0.48, 0.50))]
    for score, enough in ((0.53, False), (0.90, True)):
        first = replace(trial(4, score), config={"seed": 4, "depth": 3})
        record = study_of(*repeats, first)
        verdict = judge(record, audit(record), {}, label=None)
        assert verdict.is_enough is enough
        assert "hold-out was not looked at" in verdict.evidence


def test_equally_good_trials_seldom_look_as_if_one_led() -> None:
    """Three repeats know the spread badly: with two of its estimates this would be 14 %."""
    rng, study = np.random.default_rng(0), study_of()
    n_studies, alarms = 2000, 0
    for _ in range(n_studies):
        scores = rng.normal(0.5, 0.01, 6)
        repeats = [trial(n, score - 0.3) for n, score in enumerate(scores[:4])]
        rivals = [
            replace(trial(n, scores[n]), config={"seed": n, "depth": n}) for n in range(4, 6)
        ]
        record = replace(study, trials=(*repeats, *rivals))
        noise = seed_noise(record)
        assert noise is not None
        first, second = record.ranking()[:2]
        lead = first.value_at(1, "val_ssim") - second.value_at(1, "val_ssim")
        alarms += lead > noise.clear_lead
    assert alarms / n_studies == pytest.approx(0.05, abs=0.015)


def pruned_study(n_good: int, n_stopped: int) -> StudyRecord:
    """A tenth of the trials good, one of them clearly best; `n_stopped` others to be stopped."""
    repeats = [trial(n, 0.2 + n / 1e4) for n in range(4)]
    scores = [0.9, *(0.5 + n / 1000 for n in range(1, n_good)), *[0.3] * (9 * n_good - 4)]
    immune = [
        replace(
            trial(n, score), immune=True, config={"seed": n, "depth": n},
            would_prune_at=1 if 5 <= n < 5 + n_stopped else None,
        )
        for n, score in enumerate(scores, start=4)
    ]  # fmt: skip
    record = study_of(*repeats, *immune)
    space = {**record.space, "pruner": {**record.space["pruner"], "kind": "median"}}
    return replace(record, space=space)


@pytest.mark.parametrize(
    ("n_good", "n_stopped", "told", "enough"),
    [
        (20, 15, "stopped 15 of the 20 immune trials in the best tenth, up to 91%", False),
        (20, 0, "under the limit of 50%", True),
        (3, 0, "so it may have stopped a better one (the limit is 50%)", False),
        (2, 0, "16 immune trials are too few to judge", False),
    ],
)
def test_a_pruner_that_stops_good_trials_or_may_do_so_is_no_evidence(
    n_good: int, n_stopped: int, told: str, enough: bool
) -> None:
    record = pruned_study(n_good, n_stopped)
    verdict = judge(record, audit(record), {}, label=None)
    assert told in verdict.evidence
    assert verdict.is_enough is enough


def test_a_generator_below_its_baseline_is_told_so() -> None:
    record = study_of(replace(trial(0, 0.5), epochs={1: {"val_ssim": 0.5, "val_ssim_bone": 0.5}}))
    for score, told in ((0.6, True), (0.4, False)):
        verdict = judge(record, audit(record), {"constant": {"bone": score}}, label=None)
        assert ("does not beat doing nothing on bone" in verdict.winner) is told


def test_the_parameter_that_decides_leads_and_the_others_stay_within_chance() -> None:
    trials = [
        trial(n, 0.5 + (n % 8) / 100, params={
            "optimizer.learning_rate": 10 ** (-4 + (n % 8) / 4), "generator.depth": 2 + n // 8 % 3
        })
        for n in range(48)
    ]  # fmt: skip
    found = final_importances(study_of(*trials))
    first, second = found.parameters
    assert (first.name, first.beyond_chance) == ("optimizer.learning_rate", True)
    assert not second.beyond_chance
    assert found == final_importances(study_of(*trials))
    few = final_importances(study_of(*trials[:5]))
    assert few.parameters == ()
    assert "too few to judge" in str(few.missing)


def test_early_importances_are_of_the_first_decision_and_without_a_pruner_there_is_none() -> None:
    record = study_of(*(trial(n, n / 100) for n in range(12)))
    assert "nothing was pruned" in str(early_importances(record).missing)
    space = {**record.space, "pruner": {"kind": "median", "min_epochs": 1}}
    found = early_importances(replace(record, space=space))
    assert (found.epoch, found.n_trials) == (1, 12)


def test_quality_is_compared_by_stage() -> None:
    quality = {"sdnr_rib_tissue_input": 2.0, "sdnr_rib_tissue_truth": None, "tumour_error_mm": 1.5}
    compared, single = quality_tables({"quality": quality})
    unknown = "\N{EN DASH}"
    assert compared.rows == (("SDNR rib tissue", "2", unknown, unknown),)
    assert single.rows == (("tumour error, mm", "1.5"),)
    assert quality_tables({}) == quality_tables({"quality": None}) == ()


@pytest.mark.slow
def test_a_trained_study_shows_best_and_runner_up(trained: Trained) -> None:
    register_study(trained.workspace, trained.study, trained.dataset, n=2, tell=print)
    page, told = written(trained.workspace)
    best, second = trained.study.ranking()
    assert told == []
    assert f"best, trial {best.number}" in page
    assert f"runner-up, trial {second.number}" in page
    version = json.loads((trained.workspace / "registry.jsonl").read_text().splitlines()[0])
    assert version["weights_sha256"] in page
    assert trained.study.dataset_digest in page


@pytest.mark.slow
def test_lost_packages_cost_the_pictures_alone(trained: Trained) -> None:
    register_study(trained.workspace, trained.study, trained.dataset, n=2, tell=print)
    shutil.rmtree(trained.workspace / "mlartifacts")
    page, told = written(trained.workspace)
    assert all("package is missing or damaged" in line for line in told)
    assert len(told) == 2
    assert "minus truth" not in page
    assert read_study(trained.study.folder) == trained.study
