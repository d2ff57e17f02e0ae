"""Replicates, really trained in this process; `run_study` is the one that Ray is given."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dexsearch.config.yaml_file import parse_space
from dexsearch.data.store import open_dataset
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.plan import SearchPlan, plan_search
from dexsearch.jobs.replicates import (
    FIRST_SEED,
    LAST_SEED,
    replicate_space,
    run_replicates,
    short_list,
)
from dexsearch.jobs.replication import Replication, without_seed
from dexsearch.jobs.status import study_status
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import StudyRecord, read_study
from dexsearch.registry.record import LOG_NAME, read_registry
from dexsearch.search.data_source import FolderSource
from dexsearch.search.in_process import InProcessBackend
from dexsearch.search.progress import SilentProgress
from dexsearch.search.space import trial_seed
from dexsearch.search.study import StudyOutcome, run_study
from dexsearch.search.training_trials import TrainingTrials

SPACE = """\
task: joint
objective: val_ssim_bone
data: {path: datasets/small}
trials: 5
epochs: 2
register: 2
pruner: {kind: none}
sampler: {kind: random, seed: 3}
search:
  task: {choice: [bone, joint]}
  generator.depth: {int: [1, 3]}
fixed: {generator.width: 4, discriminator.patch_px: 16, discriminator.width: 4, batch_size: 4}
"""


@dataclass(frozen=True)
class Searched:
    """A finished search of five trials, in a workspace of its own."""

    workspace: Path

    def plan(self, **changes: object) -> SearchPlan:
        file = self.workspace / "heads.yaml"
        plan = plan_search(str(file), workspace=self.workspace)
        return replace(plan, **changes)  # type: ignore[arg-type]

    @property
    def source(self) -> StudyRecord:
        return read_study(self.workspace / "studies" / "heads")

    @property
    def again(self) -> StudyRecord:
        return read_study(self.workspace / "studies" / "heads.replicates")

    def replicate(self, n_seeds: int, **changes: object) -> Replication:
        plan = self.plan(replicates=n_seeds, **changes)
        _, found = run_replicates(plan, self.source, search=trained_here(), tell=lambda _: None)
        return found


def trained_here(clock: Callable[[], float] | None = None) -> Callable[[SearchPlan], StudyOutcome]:
    """Return what runs a plan in this process; with a clock, until a second has passed on it."""

    def search(plan: SearchPlan) -> StudyOutcome:
        limits = {} if clock is None else {"time_s": 1.0, "clock": clock}
        return run_study(
            plan.space, study=plan.study, folder=plan.folder, dataset=plan.dataset,
            dataset_digest=open_dataset(plan.dataset).manifest.digest, size_px=plan.size_px,
            progress=SilentProgress(), **limits,  # type: ignore[arg-type]
            backend=InProcessBackend(TrainingTrials(FolderSource(plan.dataset), cpus=1), slots=1),
        )  # fmt: skip

    return search


@pytest.fixture(scope="module")
def _searched(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("searched") / "w"
    shutil.copytree(_trained / "datasets", workspace / "datasets")
    (workspace / "heads.yaml").write_text(SPACE)
    plan = Searched(workspace).plan()
    trained_here()(plan)
    return workspace


@pytest.fixture
def searched(_searched: Path, tmp_path: Path) -> Searched:
    shutil.copytree(_searched, tmp_path / "w")
    return Searched(tmp_path / "w")


def seeds_by_configuration(record: StudyRecord) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for trial in record.trials:
        key = json.dumps(without_seed(trial.params), sort_keys=True)
        found.setdefault(key, []).append(trial.config["seed"])
    return found


def test_each_of_the_best_is_trained_to_the_end_with_new_seeds(searched: Searched) -> None:
    found = searched.replicate(2)
    chosen = short_list(searched.source, 2)
    assert {one.trial for one in found.configurations} == {trial.number for trial in chosen}
    again = searched.again
    assert {trial.state for trial in again.trials} == {"complete"}
    assert {trial.last_epoch for trial in again.trials} == {2}
    seeds = seeds_by_configuration(again)
    assert set(seeds) == {json.dumps(without_seed(t.params), sort_keys=True) for t in chosen}
    assert all(len(set(own)) == 2 for own in seeds.values())
    used = {trial.config["seed"] for trial in searched.source.trials}
    assert used.isdisjoint(seed for own in seeds.values() for seed in own)
    for trial in again.trials:
        assert trial.config["seed"] == trial.params["seed"]
        source = next(t for t in chosen if without_seed(t.params) == without_seed(trial.params))
        assert {**trial.config, "seed": 0} == {**source.config, "seed": 0}


def test_seeds_of_replicates_lie_above_those_that_a_trial_can_have(searched: Searched) -> None:
    space = searched.plan().space
    assert all(trial_seed(space, number) < FIRST_SEED for number in range(10_000))
    enqueue = replicate_space(
        space, searched.source, searched.source.ranking()[:1], 500, None
    ).enqueue
    seeds = [int(params["seed"]) for params in enqueue]
    assert len(set(seeds)) == 500
    assert all(FIRST_SEED <= seed <= LAST_SEED for seed in seeds)


def test_the_source_and_what_is_registered_stay_as_they_were(searched: Searched) -> None:
    ledger = searched.workspace / "studies" / "heads" / "ledger.jsonl"
    before = ledger.read_bytes()
    searched.replicate(1)
    assert ledger.read_bytes() == before
    assert read_registry(searched.workspace).versions == ()
    status = study_status(searched.workspace, None)
    assert (status.study, sum(status.trials.values())) == ("heads", 5)
    assert status.replicates is not None
    assert status.replicates.study == "heads.replicates"
    assert study_status(searched.workspace, "heads.replicates").study == "heads.replicates"


def test_more_seeds_are_added_to_what_is_there(searched: Searched) -> None:
    searched.replicate(1)
    before = searched.again.trials
    found = searched.replicate(3)
    after = searched.again.trials
    assert after[: len(before)] == before
    assert Counter(map(len, seeds_by_configuration(searched.again).values())) == {3: 2}
    assert all(len(one.values) == 3 for one in found.configurations)


def test_the_same_again_trains_nothing_and_writes_nothing(searched: Searched) -> None:
    first = searched.replicate(2)
    ledger, log = searched.again.folder / "ledger.jsonl", searched.workspace / LOG_NAME
    before = (ledger.read_bytes(), log.read_bytes())
    assert searched.replicate(2) == first
    assert (ledger.read_bytes(), log.read_bytes()) == before
    assert searched.replicate(1) == first, "fewer seeds forget none that are known"


@pytest.mark.slow
def test_a_longer_short_list_adds_configurations(searched: Searched) -> None:
    searched.replicate(2)
    before = searched.again.trials
    space = searched.plan().space
    longer = space.model_copy(update={"n_register": 3})
    found = searched.replicate(2, space=longer)
    assert searched.again.trials[: len(before)] == before
    assert Counter(map(len, seeds_by_configuration(searched.again).values())) == {2: 3}
    assert len(found.configurations) == 3
    assert len(searched.replicate(2).configurations) == 3, "who left the list keeps what is known"


@pytest.mark.slow
def test_what_had_not_begun_is_planned_anew(searched: Searched) -> None:
    times = iter([0.0] * 4)  # the time is over in the first replicate
    plan = searched.plan(replicates=3)
    stopped, _ = run_replicates(
        plan, searched.source, tell=lambda _: None,
        search=trained_here(lambda: next(times, 9.0)),
    )  # fmt: skip
    assert stopped.out_of_time
    begun = len(searched.again.trials)
    assert 1 <= begun < 6
    searched.replicate(1)
    after = searched.again
    assert not after.in_state("running")
    assert sorted(map(len, seeds_by_configuration(after).values())) == [1, 1]
    assert len(after.trials) == max(2, begun)


@pytest.mark.slow
def test_replicates_of_another_search_are_refused(searched: Searched) -> None:
    searched.replicate(1)
    folder = searched.workspace / "studies" / "heads"
    shutil.rmtree(folder)
    file = searched.workspace / "heads.yaml"
    file.write_text(SPACE.replace("batch_size: 4", "batch_size: 2"))
    trained_here()(searched.plan())
    with pytest.raises(ConfigurationError, match=r"'heads\.replicates' was begun as another"):
        searched.replicate(1)


@pytest.mark.slow
def test_what_was_learned_is_kept_once_with_mean_and_interval(searched: Searched) -> None:
    found = searched.replicate(2)
    entries = read_registry(searched.workspace).replicated
    assert {entry.trial for entry in entries} == {one.trial for one in found.configurations}
    for entry in entries:
        one = next(one for one in found.configurations if one.trial == entry.trial)
        assert (entry.study, entry.begun) == ("heads", searched.source.begun)
        assert (tuple(entry.values), entry.mean) == (one.values, one.mean)
        assert (entry.low, entry.high) == one.interval
    searched.replicate(3)
    events = [e for e in read_events(searched.workspace / LOG_NAME) if e["event"] == "replicated"]
    assert len(events) == 2 * len(entries), "new seeds are told anew"


def test_the_best_of_each_head_is_among_them_and_one_at_least(searched: Searched) -> None:
    source = searched.source
    heads = {trial.config["task"] for trial in source.ranking()}
    assert heads == {"bone", "joint"}, "the search drew one head only; choose another seed"
    assert {trial.config["task"] for trial in short_list(source, 1)} == heads
    assert short_list(source, 0) == short_list(source, 1)
    assert short_list(source, 99) == short_list(source, len(source.trials))


def test_a_seed_that_is_fixed_or_searched_gives_way(searched: Searched) -> None:
    space = searched.plan().space
    source, chosen = searched.source, searched.source.ranking()[:1]
    fixed = space.model_copy(update={"fixed": {**space.fixed, "seed": 7}})
    found = replicate_space(fixed, source, chosen, 2, None)
    assert "seed" not in found.fixed
    assert found.search["seed"].model_dump()["int"] == (FIRST_SEED, LAST_SEED)
    with_seed = [replace(t, params={**t.params, "seed": 5}) for t in chosen]
    assert replicate_space(space, source, with_seed, 2, None) == replicate_space(
        space, source, chosen, 2, None
    )


def test_nothing_ends_a_replicate_early(searched: Searched) -> None:
    text = SPACE.replace("{kind: none}", "{kind: median, min_epochs: 1}")
    text += "limits: {latency_ms: 0.001, parameters: 10000000}\n"
    space = parse_space(text, name="heads.yaml")
    found = replicate_space(space, searched.source, searched.source.ranking()[:1], 2, None)
    assert found.pruner.kind == "none"
    assert found.limits.latency_ms is None
    assert found.limits.parameters == 10_000_000, "it holds for every trial of the source"


@pytest.mark.parametrize("name", ["heads.replicates", ".replicates"])
def test_a_search_cannot_take_the_name_of_replicates(searched: Searched, name: str) -> None:
    file = searched.workspace / "heads.yaml"
    with pytest.raises(ConfigurationError, match="study name"):
        plan_search(str(file), workspace=searched.workspace, study=name)
