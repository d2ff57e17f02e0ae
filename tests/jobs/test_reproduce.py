"""A registered generator trained again from its record; every training here is a real one."""

import fcntl
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dexsearch.data.pairs import TrainingData, load_training_data
from dexsearch.data.store import open_dataset
from dexsearch.errors import ConfigurationError, DataError, Interrupted, SearchFailed, StudyBusy
from dexsearch.inference.package import CURVE, GeneratorCard, Package, open_package, write_package
from dexsearch.jobs import reproduce as job
from dexsearch.jobs.register import register_study
from dexsearch.jobs.reproduce import REPRODUCTIONS, reproduce
from dexsearch.jobs.reproduction import TOLERANCE, Reproduction, bound_from
from dexsearch.jobs.then_and_now import conditions_of
from dexsearch.ledger.study import read_study
from dexsearch.registry.entries import ReplicatedTrial
from dexsearch.registry.record import read_registry
from dexsearch.registry.replicated import keep_replicated
from dexsearch.training.training_run import TrainingRun

pytestmark = pytest.mark.slow  # the fixture packs two generators, pt2 included


@pytest.fixture(scope="module")
def _registered(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("registered") / "w"
    shutil.copytree(_trained, workspace)
    study = read_study(workspace / "studies" / "ribs")
    dataset = open_dataset(workspace / "datasets" / "small")
    register_study(workspace, study, dataset, n=2, tell=lambda _: None)
    return workspace


@pytest.fixture
def workspace(_registered: Path, tmp_path: Path) -> Path:
    shutil.copytree(_registered, tmp_path / "w")
    return tmp_path / "w"


def again(workspace: Path, model: str = "dexsearch-joint/1", **more: Any) -> Reproduction:  # noqa: ANN401
    return reproduce(model, **{"workspace": workspace, "dataset": None, "tell": _quiet, **more})


def _quiet(line: str) -> None:
    """Tell nobody."""


def package_of(workspace: Path, name: str = "dexsearch-joint/1") -> Package:
    registry = read_registry(workspace)
    return open_package(registry.path_of(registry.find(name)))


def changed(workspace: Path, folder: Path, **changes: object) -> str:
    """Write a package whose record says something else; its weights stay as they are."""
    package = package_of(workspace)
    card: GeneratorCard = replace(package.card, **changes)  # type: ignore[arg-type]
    write_package(
        folder, weights=package.weights.read_bytes(), card=card,
        curve=json.loads((package.path / CURVE).read_bytes()), draw=lambda _: None,
    )  # fmt: skip
    return str(folder)


def another_training(workspace: Path, folder: Path) -> str:
    config = package_of(workspace).card.trial_config
    slow = {**config["optimizer"], "learning_rate": 1e-7}
    return changed(workspace, folder, trial_config={**config, "optimizer": slow, "seed": 77})


@pytest.mark.parametrize("model", ["dexsearch-joint/1", "dexsearch-bone@champion"])
def test_on_the_same_device_the_weights_are_the_same_bit_for_bit(
    workspace: Path, model: str
) -> None:
    told: list[str] = []
    found = again(workspace, model, tell=told.append)
    assert (found.verdict, found.difference, found.first_different_epoch) == ("identical", 0, None)
    assert found.weights_sha256[0] == found.weights_sha256[1]
    assert [line for line in told if line.startswith("epoch 2/2")]
    assert "identical, bit for bit" in str(found)
    assert all(recorded == repeated for recorded, repeated in found.scores.values())
    found.refuse_disagreement()
    assert list((workspace / REPRODUCTIONS).iterdir()) == [], "its checkpoints have gone"
    assert json.dumps(found.as_json(), allow_nan=False)


def test_another_training_does_not_agree_and_says_by_how_much(
    workspace: Path, tmp_path: Path
) -> None:
    found = again(workspace, another_training(workspace, tmp_path / "other"))
    assert found.verdict == "does not agree"
    assert found.first_different_epoch == 1
    assert abs(found.difference) > TOLERANCE
    assert "does NOT agree" in str(found)
    assert "a tolerance, because the study has too few replicates" in str(found)
    with pytest.raises(SearchFailed, match="is not reproduced") as refused:
        found.refuse_disagreement()
    assert refused.value.exit_code == 5


def test_noise_that_replicates_tell_decides_in_place_of_the_tolerance(
    workspace: Path, tmp_path: Path
) -> None:
    wide = ReplicatedTrial(
        study="ribs", begun=read_study(workspace / "studies" / "ribs").begun, trial=0,
        objective="val_ssim", seeds=[1, 2, 3], values=[0.1, 0.5, 0.9], mean=0.5, low=None,
        high=None, time=0.0,
    )  # fmt: skip
    keep_replicated(workspace, [wide, replace(wide, study="other", values=[0.5, 0.5, 0.5])])
    found = again(workspace, another_training(workspace, tmp_path / "other"))
    assert (found.bound.deviation, found.bound.freedom) == (pytest.approx(0.4), 2)
    assert found.verdict == "agrees"
    assert "seed noise 0.4000 from the study's replicates" in str(found)


def test_the_bound_holds_for_nineteen_of_twenty_pairs_of_trainings() -> None:
    rng = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(1000):
        scores = (0.8 + 0.01 * torch.randn(6, generator=rng)).tolist()
        entry = ReplicatedTrial(
            study="s", begun=1.0, trial=0, objective="val_ssim", seeds=[1, 2, 3, 4],
            values=scores[:4], mean=0.8, low=None, high=None, time=0.0,
        )  # fmt: skip
        inside += abs(scores[4] - scores[5]) <= bound_from([entry]).value
    assert 935 <= inside <= 965
    assert bound_from([]).value == TOLERANCE


def test_ctrl_c_keeps_what_was_trained_and_the_same_call_goes_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "CHECKPOINT_EVERY_S", 0.0)
    trained: list[int] = []
    train_epoch = TrainingRun.train_epoch

    def counted(run: TrainingRun, epoch: int) -> object:
        trained.append(epoch)
        return train_epoch(run, epoch)

    def interrupt(line: str) -> None:
        if line.startswith("epoch 1/2"):
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "train_epoch", counted)
    with pytest.raises(Interrupted, match="stopped in epoch 2 of 2") as stopped:
        again(workspace, tell=interrupt)
    assert "same command continues" in (stopped.value.hint or "")
    assert again(workspace).verdict == "identical"
    assert trained == [1, 2]


def test_two_at_once_are_refused(workspace: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("epoch"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        again(workspace, tell=interrupt)
    (lock,) = (workspace / REPRODUCTIONS).glob("*/lock")
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StudyBusy, match="reproduction of"):
            again(workspace)
    assert again(workspace).verdict == "identical"


def test_the_dataset_is_found_by_its_digest_or_given_and_must_be_its_own(
    workspace: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.move(workspace / "datasets" / "small", moved)
    shutil.rmtree(workspace / "studies")
    with pytest.raises(DataError, match="neither in"):
        again(workspace)
    assert again(workspace, dataset=moved).verdict == "identical"
    other = changed(workspace, tmp_path / "other", dataset="e" * 64)
    with pytest.raises(DataError, match="is needed"):
        again(workspace, other, dataset=moved)


def test_another_metric_definition_is_never_compared(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="metric definition 99"):
        again(workspace, changed(workspace, tmp_path / "other", metric=99))


def test_a_training_that_diverges_is_a_failure_with_its_epoch(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*arguments: Any) -> TrainingData:  # noqa: ANN401
        data = load_training_data(*arguments)
        return replace(data, train=replace(data.train, target=data.train.target * 1e38))

    monkeypatch.setattr("dexsearch.data.pairs.load_training_data", spoilt)
    with pytest.raises(SearchFailed, match="diverged in epoch 1"):
        again(workspace)


def test_a_configuration_that_this_version_does_not_take_is_told(
    workspace: Path, tmp_path: Path
) -> None:
    config = package_of(workspace).card.trial_config
    model = changed(workspace, tmp_path / "other", trial_config={**config, "batch_size": 0})
    with pytest.raises(DataError, match=r"does not take: .*batch_size"):
        again(workspace, model)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("processor", "Abacus 9000", "processor Abacus 9000, here"),
        ("torch", "1.0", "torch 1.0, here"),
        ("device", "cuda", "device cuda, here cpu"),
    ],
)
def test_what_is_not_as_it_was_is_told(workspace: Path, key: str, value: str, told: str) -> None:
    card = package_of(workspace).card
    known = card.trained_with[0]
    assert not [w for w in conditions_of(card, workspace).warnings if "commit" not in w]
    other = replace(card, trained_with=[{**known, key: value}])
    warnings = conditions_of(other, workspace).warnings
    assert any(warning.startswith(told) for warning in warnings)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_threads_and_precision_are_taken_from_the_record(workspace: Path, precision: str) -> None:
    card = package_of(workspace).card
    known = {**card.trained_with[0], "threads": 3, "precision": precision}
    found = conditions_of(replace(card, trained_with=[known]), workspace)
    assert found.arithmetic.threads == 3
    assert found.precision.dtype is getattr(torch, precision)
    assert not any("precision" in w or "threads" in w for w in found.warnings)


def test_a_record_of_an_earlier_version_is_told_and_the_study_knows_its_threads(
    workspace: Path,
) -> None:
    card = replace(package_of(workspace).card, trained_with=[], machine="Abacus, 2 CPUs")
    found = conditions_of(card, workspace)
    assert any("earlier version" in w and "Abacus" in w for w in found.warnings)
    assert found.arithmetic.threads == 1
    twice = package_of(workspace).card.trained_with * 2
    mixed = conditions_of(replace(card, trained_with=twice), workspace)
    assert any("continued on another machine" in w for w in mixed.warnings)


def test_a_record_that_nobody_understands_is_refused(workspace: Path) -> None:
    card = package_of(workspace).card
    for wrong in ({"threads": 1}, {**card.trained_with[0], "precision": "float8"}):
        with pytest.raises(DataError, match=r"cannot be read|is not known"):
            conditions_of(replace(card, trained_with=[wrong]), workspace)
