"""Trials that share a GPU: how many fit, and what happens when they do not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from invented_curves import rising
from searching import check_study, run_on_ray, search_here, space_with

from dexsearch.config.yaml_file import parse_space
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import read_study
from dexsearch.search.packing import largest_need_bytes, trials_per_gpu
from dexsearch.search.sharing import GpuSharing
from dexsearch.search.trial import Assignment, Record

GIB = 2**30


class CrowdedGpu:
    """A GPU that holds so many trials; whoever comes beside them runs out of memory."""

    def __init__(self, n_fitting: int) -> None:
        self.n_fitting = n_fitting
        self.on_it: set[int] = set()
        self.most = 0

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        self.on_it.add(assignment.number)
        try:
            for record in rising(assignment):
                if len(self.on_it) > self.n_fitting:
                    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
                self.most = max(self.most, len(self.on_it))
                yield record
        finally:
            self.on_it.discard(assignment.number)


@pytest.mark.parametrize("n_fitting", [1, 2, 3])
def test_trials_that_do_not_fit_beside_each_other_are_put_back_and_all_are_completed(
    n_fitting: int, tmp_path: Path
) -> None:
    gpu = CrowdedGpu(n_fitting)
    search_here(
        tmp_path / "s", gpu, slots=4, sharing=GpuSharing(1, 4), pruner={"kind": "none"}
    )  # fmt: skip
    record = check_study(tmp_path / "s", trials=8, epochs=9)
    assert len(record.in_state("complete")) == 8
    assert gpu.most <= n_fitting
    events = read_events(tmp_path / "s" / "ledger.jsonl")
    reasons = [event["reason"] for event in events if event["event"] == "trial_continued"]
    assert reasons
    assert all(reason.startswith("out of memory with up to") for reason in reasons)


@pytest.mark.slow
@pytest.mark.cluster
def test_on_ray_two_trials_that_do_not_fit_on_one_gpu_are_halved_and_all_are_completed(
    tmp_path: Path,
) -> None:
    ended = run_on_ray(
        tmp_path / "s", "crowded", gpus=2, trials=12, epochs=4, pruner={"kind": "none"},
        resources={"gpus": "auto", "gpu_memory_gib": 10},
    )  # fmt: skip
    assert ended.exit_code == 0, ended.stderr
    record = check_study(tmp_path / "s", trials=12, epochs=4)
    assert len(record.in_state("complete")) == 12
    running: set[int] = set()
    reasons = []
    for event in read_events(tmp_path / "s" / "ledger.jsonl"):
        if event["event"] == "trial_started":
            running.add(event["trial"])
            assert len(running) <= (2 if reasons else 4), "more at once than the GPUs take"
        elif event["event"] == "trial_continued":
            reasons.append(event["reason"])
            running.discard(event["trial"])
        elif event["event"] == "trial_ended":
            running.discard(event["trial"])
    told = "out of memory with up to 2 trials on a GPU; from now on 1 at once on each"
    assert reasons
    assert set(reasons) == {told}
    assert [trial.last_record["share"] for trial in record.trials][-4:] == [1.0] * 4


def test_alone_on_its_gpu_a_trial_out_of_memory_has_failed(tmp_path: Path) -> None:
    search_here(tmp_path / "s", CrowdedGpu(0), slots=4, sharing=GpuSharing(1, 4), trials=2)
    for trial in read_study(tmp_path / "s").trials:
        assert (trial.state, trial.kind) == ("failed", "memory")
        assert "CUDA out of memory" in (trial.reason or "")


def test_a_trial_put_back_before_a_stop_is_continued_later(tmp_path: Path) -> None:
    gpu = CrowdedGpu(1)
    shared = {"slots": 2, "sharing": GpuSharing(1, 2), "trials": 2, "pruner": {"kind": "none"}}
    looks = iter([0.0, 0.0, 0.0, 0.0, *[9.0] * 99])
    outcome = search_here(tmp_path / "s", gpu, time_s=5.0, clock=lambda: next(looks), **shared)  # type: ignore[arg-type]
    assert outcome.out_of_time
    search_here(tmp_path / "s", gpu, **shared)  # type: ignore[arg-type]
    assert len(check_study(tmp_path / "s", trials=2, epochs=9).in_state("complete")) == 2


def test_the_next_process_remembers_how_many_fit_unless_other_resources_are_asked_for(
    tmp_path: Path,
) -> None:
    shared = {"slots": 4, "sharing": GpuSharing(1, 4), "pruner": {"kind": "none"}}
    search_here(tmp_path / "s", CrowdedGpu(1), trials=4, **shared)  # type: ignore[arg-type]
    found = read_study(tmp_path / "s")
    assert found.per_gpu == 1
    assert found.setbacks["memory"] > 0
    search_here(tmp_path / "s", CrowdedGpu(1), trials=6, **shared)  # type: ignore[arg-type]
    assert read_study(tmp_path / "s").setbacks == found.setbacks, "none ran out of memory again"
    other = {"resources": {"gpu_memory_gib": 80}, **shared}
    search_here(tmp_path / "s", CrowdedGpu(4), trials=7, **other)  # type: ignore[arg-type]
    assert read_study(tmp_path / "s").per_gpu is None


def test_halving_ends_at_one_trial() -> None:
    assert [GpuSharing(2, n).halved().per_gpu for n in (8, 5, 3, 2, 1)] == [4, 2, 1, 1, 1]
    assert GpuSharing(2, 4).at_once == 8
    assert GpuSharing().at_once is None
    with pytest.raises(ValueError, match="got 1 and 0"):
        GpuSharing(1, 0)


@pytest.mark.parametrize(
    ("need", "memory", "cpus", "trials", "fit"),
    [
        (2 * GIB, 16 * GIB, 16, 64, 7),  # nine tenths of the memory
        (2 * GIB, 16 * GIB, 4, 64, 4),
        (2 * GIB, 16 * GIB, 16, 3, 3),
        (40 * GIB, 16 * GIB, 16, 64, 1),
        (2 * GIB, 16 * GIB, 0.5, 64, 1),
    ],
)
def test_memory_processors_and_trials_bound_how_many_share_a_gpu(
    need: int, memory: int, cpus: float, trials: int, fit: int
) -> None:
    assert fit == trials_per_gpu(
        need, memory, cpus_per_gpu=cpus, cpus_per_trial=1, n_trials=trials
    )


def test_the_largest_need_is_that_of_the_hungriest_configuration() -> None:
    from dexsearch.training.memory import training_memory_bytes

    space = space_with()
    hungriest = space.config_for(
        {"generator.depth": 4, "loss.adversarial": "lsgan", "discriminator.patch_px": 1}, seed=0
    )
    other = space.config_for(
        {"generator.depth": 4, "loss.adversarial": "lsgan", "discriminator.patch_px": 16}, seed=0
    )
    most = max(
        training_memory_bytes(config, (64, 64), n_images=50) for config in (hungriest, other)
    )
    assert largest_need_bytes(space, (64, 64), n_images=50) == most


@pytest.mark.parametrize("limit", [None, 1_000_000, 40_000])
def test_no_configuration_over_the_limit_counts_as_the_largest(limit: int | None) -> None:
    """Listed in full: under a limit neither the widest nor the deepest has to be the hungriest."""
    from dexsearch.training.memory import parameter_counts, training_memory_bytes

    text = (
        "task: joint\ndata:\n  phantom: {subjects: 6, poses: 4, size_px: 64}\n"
        "search:\n  generator.depth: {int: [1, 5]}\n  generator.width: {int: [4, 32]}\n"
        "  batch_size: {choice: [2, 8]}\n"
        + (f"limits: {{parameters: {limit}}}\n" if limit else "")
    )
    space = parse_space(text, name="s.yaml")
    listed = [
        space.config_for({"generator.depth": d, "generator.width": w, "batch_size": b}, seed=0)
        for d in range(1, 6) for w in range(4, 33) for b in (2, 8)
    ]  # fmt: skip
    kept = [c for c in listed if limit is None or parameter_counts(c)[0] <= limit]
    assert (len(kept) < len(listed)) == (limit is not None)
    most = max(training_memory_bytes(config, (64, 64), n_images=50) for config in kept)
    found = largest_need_bytes(space, (64, 64), n_images=50)
    assert (0.98 if limit else 1.0) * most <= found <= most
