import errno
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch

from dexsearch.data.pairs import load_pairs
from dexsearch.data.store import Dataset, ImageInfo
from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.inference.package import open_package
from dexsearch.inference.predict import load_predictor
from dexsearch.jobs.measuring import git_commit, score_intervals
from dexsearch.jobs.portrait import middle_images, score_validation
from dexsearch.jobs.register import promotions, register_study
from dexsearch.ledger.study import StudyRecord, read_study
from dexsearch.registry.record import LOG_NAME, Registration, read_registry

SmallDisk = Callable[[Path, str], AbstractContextManager[None]]


@pytest.fixture
def small_disk() -> SmallDisk:
    """Give a folder a disk of its own, of a size as mount takes it; only root can."""

    @contextmanager
    def mounted(folder: Path, size: str) -> Iterator[None]:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a small disk needs root")
        try:
            yield
        finally:
            subprocess.run(["umount", str(folder)], check=True)

    return mounted


class Trained(Protocol):
    workspace: Path
    study: StudyRecord
    dataset: Dataset


def register(trained: Trained, *, n: int = 2) -> tuple[tuple[Registration, ...], list[str]]:
    told: list[str] = []
    versions = register_study(
        trained.workspace, trained.study, trained.dataset, n=n, tell=told.append
    )
    return versions, told


@pytest.mark.slow
def test_the_best_complete_trials_are_registered_under_their_own_heads(trained: Trained) -> None:
    versions, told = register(trained)
    assert told == []
    ranking = trained.study.ranking()
    assert [v.trial for v in versions] == [trial.number for trial in ranking]
    assert {v.trial: v.name for v in versions} == {0: "dexsearch-joint", 1: "dexsearch-bone"}
    for version, trial in zip(versions, ranking, strict=True):
        last = trial.epochs[2]
        assert version.val_ssim == last["val_ssim"]
        assert version.val_ssim_tissue == last["val_ssim_tissue"]
        assert version.dataset == trained.study.dataset_digest
        assert set(version.baselines) == {"identity_affine", "nearest_pose", "constant"}
        assert (version.epochs, version.metric, version.version) == (2, 1, 1)
    joint = next(v for v in versions if v.task == "joint")
    assert set(joint.baselines["constant"]) == {"bone", "tissue"}


@pytest.mark.slow
def test_a_package_holds_all_that_a_generator_needs(trained: Trained) -> None:
    (version, *_), _ = register(trained, n=1)
    package = open_package(trained.workspace / version.package, sha256=version.sha256)
    trial = trained.study.trials[version.trial]
    assert package.card.trial_config == trial.config
    assert package.card.units["bone"] == "cm"
    assert package.card.scores["val_psnr"] == trial.epochs[2]["val_psnr"]
    curve = json.loads((package.path / "curve.json").read_text())
    assert curve == [trial.epochs[1], trial.epochs[2]]
    pictures = [name for name in package.files if name.startswith("pictures/")]
    assert len(pictures) == 3
    for name in (*pictures, "curve.png"):
        assert (package.path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_card_holds_the_image_quality_of_the_final_epoch(trained: Trained) -> None:
    versions, _ = register(trained)
    for version in versions:
        package = open_package(trained.workspace / version.package, sha256=version.sha256)
        measured = trained.study.trials[version.trial].epochs[2]["quality"]
        kept = {k: v for k, v in package.card.scores.items() if k.startswith("quality_")}
        assert kept == {f"quality_{name}": value for name, value in measured.items()}
        assert {"psnr_bone", "mae_bone"} <= measured.keys()
        assert ("bone_suppression" in measured) == (version.task == "joint")


@pytest.mark.slow
def test_a_ledger_without_image_quality_registers_too(trained: Trained) -> None:
    ledger = trained.workspace / "studies" / "ribs" / "ledger.jsonl"
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    for event in events:
        event.get("record", {}).pop("quality", None)
    ledger.write_text("".join(json.dumps(event) + "\n" for event in events))
    (version, *_), told = register(replace_study(trained, read_study(ledger.parent)), n=1)
    assert told == []
    card = open_package(trained.workspace / version.package, sha256=version.sha256).card
    assert not [name for name in card.scores if name.startswith("quality_")]
    assert card.scores["val_ssim"] == version.val_ssim


@pytest.mark.slow
def test_a_validation_image_is_predicted_as_it_was_scored(trained: Trained) -> None:
    """The score of `predict` on validation images equals the ledger's bit for bit."""
    versions, _ = register(trained)
    device = torch.device("cpu")
    for version in versions:
        predictor = load_predictor(open_package(trained.workspace / version.package))
        pairs = load_pairs(trained.dataset, "validation", predictor.card.targets, device)
        infos = trained.dataset.manifest.images["validation"]
        portrait = score_validation(predictor, pairs, infos)
        assert tuple(portrait.ssim.mean(axis=0)) == pytest.approx(
            [getattr(version, f"val_ssim_{t}") for t in predictor.card.targets], abs=1e-15
        )


@pytest.mark.slow
def test_one_image_is_predicted_as_in_a_batch(trained: Trained) -> None:
    (version, *_), _ = register(trained, n=1)
    predictor = load_predictor(open_package(trained.workspace / version.package))
    targets = predictor.card.targets
    pairs = load_pairs(trained.dataset, "validation", targets, torch.device("cpu"))
    together = predictor.predict_batch(pairs.input).numpy()
    for index, image in enumerate(trained.dataset.arrays("validation").input):
        alone = predictor.predict(np.array(image))
        for channel, target in enumerate(targets):
            np.testing.assert_allclose(alone[target], together[index, channel], atol=1e-5)


@pytest.mark.slow
def test_registering_again_changes_nothing(trained: Trained) -> None:
    first, _ = register(trained)
    log = (trained.workspace / LOG_NAME).read_bytes()
    again, _ = register(trained)
    assert again == first
    assert (trained.workspace / LOG_NAME).read_bytes() == log


@pytest.mark.slow
def test_where_the_head_is_searched_the_best_of_each_is_registered(trained: Trained) -> None:
    space = {**trained.study.space, "search": {"task": {"choice": ["bone", "joint"]}}}
    searched = replace_study(trained, replace(trained.study, space=space))
    assert register(searched, n=0) == ((), [])
    versions, _ = register(searched, n=1)
    assert [v.trial for v in versions] == [t.number for t in trained.study.ranking()]
    assert {v.name for v in versions} == {"dexsearch-joint", "dexsearch-bone"}


@pytest.mark.slow
def test_a_version_above_the_champion_is_told_with_the_command_that_asks(trained: Trained) -> None:
    (version,), _ = register(trained, n=1)
    weaker = {**asdict(version), "trial": 99, "version": 7, "val_ssim": version.val_ssim - 0.1}
    log = trained.workspace / LOG_NAME
    events = [{"event": "registered", **weaker}, {
        "event": "alias", "name": version.name, "alias": "champion", "version": 7, "reason": "",
        "time": 0.0,
    }]  # fmt: skip
    with log.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    versions, told = register(trained, n=1)
    assert [v.version for v in versions] == [1]
    assert "scores 0.1000 above the champion" in told[0]
    flag = f" --workspace {trained.workspace}"
    assert promotions(trained.workspace, versions) == (
        f"dexsearch promote {version.name}/1{flag}",
    )
    assert promotions(trained.workspace, ()) == ()


@pytest.mark.slow
def test_a_card_says_what_it_was_trained_on_and_how_fast_it_is(trained: Trained) -> None:
    (version, *_), _ = register(trained, n=1)
    package = open_package(trained.workspace / version.package, sha256=version.sha256)
    card, manifest = package.card, trained.dataset.manifest
    assert card.subjects == {s: len(manifest.subjects(s)) for s in card.subjects}
    assert card.images == {s: len(manifest.images[s]) for s in card.images}
    assert sum(card.subjects.values()) == 12
    assert card.cohort == {
        "kind": "phantom", "split_rule": manifest.split_rule, "seed": 0,
    }  # fmt: skip
    assert re.fullmatch("[0-9a-f]{64}", str(card.split))
    assert card.latency is not None
    assert card.latency["ms"] > 0
    assert card.latency["size_px"] == list(manifest.size_px)
    assert socket.gethostname() not in card.latency["machine"].split()
    assert card.n_subjects == len(manifest.subjects("validation")) == 2
    assert card.intervals == {}, "two subjects have no interval"
    assert {"model_card.md", "mlflow/MLmodel", "mlflow/data/model.pt2"} <= set(package.files)
    assert version.latency == card.latency


def test_an_interval_is_that_of_the_mean_over_subjects() -> None:
    """Ten images of one subject count as much as one of another; each column has its own."""
    subjects = ["a"] * 10 + ["b", "c", "d"]
    bone = np.array([0.2] * 10 + [0.4, 0.6, 0.8])
    ssim = np.stack([bone, np.full(13, 0.9)], axis=1)
    found = score_intervals(ssim, subjects, ("bone", "tissue"))
    low, high = found["val_ssim_bone"]
    assert 0.2 <= low < 0.5 < high <= 0.8
    assert found["val_ssim_tissue"] == [pytest.approx(0.9), pytest.approx(0.9)]
    assert found["val_ssim"] == pytest.approx([(low + 0.9) / 2, (high + 0.9) / 2])
    assert score_intervals(ssim[:11], subjects[:11], ("bone", "tissue")) == {}


def test_the_commit_is_that_of_the_checkout_and_none_without_git(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = git_commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", found)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_and_the_same_call_continues(
    trained: Trained, small_disk: SmallDisk
) -> None:
    packages = trained.workspace / "mlartifacts"
    for size in ("64k", "256k"):  # too small for the weights and curves; for the MLflow model
        with small_disk(packages, size):
            with pytest.raises(EnvironmentFault, match="No space left on device") as caught:
                register(trained)
            assert "same command" in str(caught.value.hint)
            for folder in (packages / "generators").glob("*/"):
                open_package(folder)  # whole, or it is not there
            assert not list(packages.rglob("*.partial-*"))
            assert read_registry(trained.workspace).versions == ()
    versions, told = register(trained)
    assert (len(versions), told) == (2, [])


@pytest.mark.slow
def test_a_lost_package_is_written_again_under_its_version(trained: Trained) -> None:
    first, _ = register(trained)
    shutil.rmtree(trained.workspace / "mlartifacts")
    again, _ = register(trained)
    assert [(v.name, v.version) for v in again] == [(v.name, v.version) for v in first]
    assert [v.sha256 for v in again] == [v.sha256 for v in first], "to the last bit"
    assert len(read_registry(trained.workspace).versions) == 2
    for version in again:
        open_package(trained.workspace / version.package, sha256=version.sha256)


@pytest.mark.slow
def test_what_is_registered_needs_no_checkpoint_any_more(trained: Trained) -> None:
    first, _ = register(trained)
    shutil.rmtree(trained.workspace / "studies" / "ribs" / "trials")
    assert register(trained) == (first, [])


@pytest.mark.slow
def test_a_trial_of_a_study_begun_anew_is_not_the_registered_one(trained: Trained) -> None:
    (first, *_), _ = register(trained, n=1)
    changed = {
        "a score": lambda trial: {
            "epochs": {**trial.epochs, trial.last_epoch: {**trial.last_record, "val_ssim": 0.99}}
        },
        "a parameter": lambda trial: {"params": {"generator.depth": 4}},
    }
    shutil.rmtree(trained.workspace / "studies" / "ribs" / "trials")
    for change in changed.values():
        trials = tuple(replace(trial, **change(trial)) for trial in trained.study.trials)
        versions, told = register(replace_study(trained, replace(trained.study, trials=trials)))
        assert versions == ()
        assert f"trial {first.trial} is not registered: its checkpoint" in "\n".join(told)


@pytest.mark.slow
def test_a_trial_with_a_damaged_checkpoint_is_passed_over_and_told(trained: Trained) -> None:
    best, second = trained.study.ranking()
    weights = trained.workspace / "studies/ribs" / str(best.checkpoint) / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"flip")
    versions, (line,) = register(trained, n=1)
    assert [v.trial for v in versions] == [second.number]
    assert line.startswith(f"trial {best.number} is not registered: its checkpoint")


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_here_is_not_passed_over_for_the_next_best(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, _ = trained.study.ranking()
    read_bytes = Path.read_bytes

    def stale(path: Path) -> bytes:
        if path.parent.name == Path(str(best.checkpoint)).name:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(EnvironmentFault, match=rf"trial {best.number} cannot be read.*Stale"):
        register(trained, n=1)


@pytest.mark.slow
def test_weights_that_do_not_score_what_the_ledger_says_are_told(trained: Trained) -> None:
    ledger = trained.workspace / "studies" / "ribs" / "ledger.jsonl"
    best = trained.study.ranking()[0]
    score = json.dumps(best.epochs[2]["val_ssim"])
    ledger.write_text(ledger.read_text().replace(f'"val_ssim":{score}', '"val_ssim":0.999'))
    changed = replace_study(trained, read_study(ledger.parent))
    versions, (line,) = register(changed, n=1)
    assert [v.trial for v in versions] != [best.number]
    assert "the ledger says 0.9990" in line
    assert not list((trained.workspace / "mlartifacts/generators").glob("*partial*"))


@pytest.mark.slow
def test_another_dataset_is_refused(trained: Trained) -> None:
    other = replace(trained.study, dataset_digest="0" * 64)
    with pytest.raises(DataError, match="digest"):
        register(replace_study(trained, other))


@pytest.mark.slow
def test_nothing_complete_registers_nothing(trained: Trained) -> None:
    versions, _ = register(replace_study(trained, replace(trained.study, trials=())))
    assert versions == ()
    assert not (trained.workspace / LOG_NAME).exists()


def test_pictures_show_the_middle_subjects_and_their_middle_images() -> None:
    names = [name for name in "abcde" for _ in range(3)]
    infos = tuple(ImageInfo(name, (0.0, 0.0, 0.0)) for name in names)
    means = {"a": 0.1, "b": 0.5, "c": 0.52, "d": 0.55, "e": 0.99}
    scores = np.array([means[name] + (i % 3 - 1) * 0.01 for i, name in enumerate(names)])
    shown = middle_images(scores, infos)
    assert [names[index] for index in shown] == ["c", "b", "d"]
    assert [index % 3 for index in shown] == [1, 1, 1]


def test_one_subject_shows_several_images() -> None:
    infos = tuple(ImageInfo("only", (0.0, 0.0, float(z))) for z in range(9))
    shown = middle_images(np.linspace(0, 1, 9), infos)
    assert sorted(shown) == [3, 4, 5]


def replace_study(trained: Trained, study: StudyRecord) -> Trained:
    return replace(trained, study=study)  # type: ignore[type-var]
