"""Laws of a training run."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.data.pairs import TrainingData
from dexsearch.training.affine import start_from_affine
from dexsearch.training.checkpoint import newest_valid_checkpoint
from dexsearch.training.loop import EpochRecord, TrainingDiverged, train
from dexsearch.training.networks import Networks
from dexsearch.training.normalization import Normalization
from dexsearch.training.validation import Validator

CPU = torch.device("cpu")


def small(**dotted: object) -> TrialConfig:
    values = {
        "generator.depth": 3,
        "generator.width": 4,
        "discriminator.width": 4,
        "discriminator.patch_px": 16,
        "batch_size": 8,
    }
    return trial_config(values | {key.replace("__", "."): value for key, value in dotted.items()})


def scores(records: list[EpochRecord]) -> list[EpochRecord]:
    """Drop what differs between equal runs."""
    return [dataclasses.replace(record, seconds=0.0) for record in records]


def run(config: TrialConfig, data: TrainingData, epochs: int, **more: object) -> list[EpochRecord]:
    return list(train(config, data, epochs=epochs, device=CPU, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("adversarial", ["vanilla", "lsgan", "hinge", "none"])
def test_every_adversarial_loss_gives_finite_records(
    joint_data: TrainingData, adversarial: str
) -> None:
    records = run(small(loss__adversarial=adversarial), joint_data, 2)
    assert [record.epoch for record in records] == [1, 2]
    last = records[-1]
    assert last.val_ssim == pytest.approx((last.val_ssim_bone + last.val_ssim_tissue) / 2)  # type: ignore[operator]
    assert (last.loss_discriminator is None) == (adversarial == "none")


def test_a_bone_head_has_no_tissue_score(bone_data: TrainingData) -> None:
    (record,) = run(small(task="bone"), bone_data, 1)
    assert record.val_ssim_tissue is None
    assert record.val_ssim == record.val_ssim_bone


@pytest.mark.parametrize(
    ("norm", "per_image", "output"),
    [
        ("batch", "absolute", "plain"),
        ("instance", "per_image", "residual"),
        ("instance", "absolute", "plain"),
        ("none", "per_image", "plain"),
        ("none", "absolute", "residual"),
    ],
)
def test_every_kind_of_generator_trains(
    joint_data: TrainingData, norm: str, per_image: str, output: str
) -> None:
    config = small(
        generator__norm=norm,
        discriminator__norm=norm,
        generator__input_normalization=per_image,
        generator__output=output,
    )
    (record,) = run(config, joint_data, 1)
    assert 0 < record.loss_l1 < 1


def test_the_same_seed_gives_the_same_curve(joint_data: TrainingData) -> None:
    one, two = run(small(), joint_data, 2), run(small(), joint_data, 2)
    assert scores(one) == scores(two)
    assert scores(one) != scores(run(small(seed=1), joint_data, 2))


@pytest.mark.parametrize(
    ("adversarial", "norm"), [("lsgan", "batch"), ("lsgan", "instance"), ("none", "batch")]
)
def test_continuing_equals_an_uninterrupted_run_bit_for_bit(
    joint_data: TrainingData, tmp_path: Path, adversarial: str, norm: str
) -> None:
    config = small(loss__adversarial=adversarial, generator__norm=norm)
    whole = run(config, joint_data, 4, checkpoints=tmp_path / "whole", checkpoint_every_s=0.0)
    broken = train(
        config,
        joint_data,
        epochs=4,
        device=CPU,
        checkpoints=tmp_path / "b",
        checkpoint_every_s=0.0,
    )
    next(broken), next(broken)
    broken.close()  # type: ignore[attr-defined]
    again = run(config, joint_data, 4, checkpoints=tmp_path / "b")
    assert scores(again) == scores(whole)
    one, two = (newest_valid_checkpoint(tmp_path / name) for name in ("whole", "b"))
    assert one is not None
    assert two is not None
    assert one.contents.keys() == two.contents.keys()
    for name in one.contents:
        assert one.contents[name] == two.contents[name], name


def test_a_finished_run_is_told_again_without_training(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    first = run(small(), joint_data, 2, checkpoints=tmp_path)
    assert run(small(), joint_data, 2, checkpoints=tmp_path) == first
    # What is no final epoch any more says of itself what an uninterrupted run would.
    first[1] = dataclasses.replace(first[1], quality=None)
    assert run(small(), joint_data, 3, checkpoints=tmp_path)[:2] == first


def test_fewer_epochs_than_are_stored_end_without_a_quality(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    first = run(small(), joint_data, 2, checkpoints=tmp_path)
    assert run(small(), joint_data, 1, checkpoints=tmp_path) == first[:1]
    assert first[0].quality is None


def test_the_final_epoch_alone_has_the_quality_of_its_images(joint_data: TrainingData) -> None:
    first, last = run(small(), joint_data, 2)
    assert first.quality is None
    assert last.quality is not None
    assert set(last.quality) == {
        "psnr_bone", "psnr_tissue", "mae_bone", "mae_tissue", "bone_suppression",
    }  # fmt: skip
    both = last.quality["mae_bone"], last.quality["mae_tissue"]
    assert sum(both) / 2 == pytest.approx(last.val_mae, rel=1e-6)


def test_records_of_earlier_versions_have_no_quality(joint_data: TrainingData) -> None:
    (record,) = run(small(loss__adversarial="none"), joint_data, 1)
    older = record.as_dict()
    del older["quality"]
    assert EpochRecord.from_dict(older) == dataclasses.replace(record, quality=None)
    del older["val_ssim"]
    with pytest.raises(KeyError, match="val_ssim"):
        EpochRecord.from_dict(older)


def test_the_final_checkpoint_is_there_before_the_final_record(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    for record in train(small(), joint_data, epochs=2, device=CPU, checkpoints=tmp_path):
        assert (tmp_path / f"{record.epoch:05d}").exists() == (record.epoch == 2)


def test_the_registered_weights_are_those_that_were_scored(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    from dexsearch.models.generator import build_generator

    record = run(small(), joint_data, 2, checkpoints=tmp_path)[-1]
    checkpoint = newest_valid_checkpoint(tmp_path)
    assert checkpoint is not None
    config = checkpoint.state.config
    generator = build_generator(config.generator, n_targets=2).eval()
    generator.load_state_dict(checkpoint.tensors("ema"))
    validator = Validator(
        joint_data.validation, checkpoint.state.normalization, depth=config.generator.depth
    )
    assert validator.score(generator).ssim[0] == pytest.approx(record.val_ssim_bone, abs=1e-5)


def test_another_configuration_may_not_continue_a_run(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    run(small(), joint_data, 1, checkpoints=tmp_path)
    with pytest.raises(ValueError, match="another configuration; choose another folder"):
        train(small(seed=3), joint_data, epochs=2, device=CPU, checkpoints=tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("digest", "other", "another dataset"),
        ("input_mean", 1.0, "another normalisation"),
        ("data_ranges", (1.0, 10.0), "another normalisation"),
    ],
)
def test_other_data_or_constants_may_not_continue_a_run(
    joint_data: TrainingData, tmp_path: Path, field: str, value: object, named: str
) -> None:
    run(small(), joint_data, 1, checkpoints=tmp_path)
    changed = dataclasses.replace(joint_data, **{field: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"holds a run of {named}; choose"):
        train(small(), changed, epochs=2, device=CPU, checkpoints=tmp_path)


def test_another_metric_definition_may_not_continue_a_run(
    joint_data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(), joint_data, 1, checkpoints=tmp_path)
    monkeypatch.setattr("dexsearch.training.training_run.METRIC_DEFINITION", 999)
    with pytest.raises(ValueError, match="another metric definition"):
        train(small(), joint_data, epochs=2, device=CPU, checkpoints=tmp_path)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1] * 20), (3, [3] * 6), (16, [16]), (64, [20])]
)
def test_an_epoch_sees_different_images_once_and_leaves_a_partial_batch_out(
    joint_data: TrainingData,
    batch_size: int,
    sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[torch.Tensor] = []

    def watch(_: Networks, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        assert len(x) == len(y)
        batches.append(x)
        return torch.ones(3)

    monkeypatch.setattr(Networks, "train_step", watch)
    run(small(batch_size=batch_size), joint_data, 2)
    assert [len(batch) for batch in batches] == sizes * 2
    first, second = (
        torch.cat(batches[part]) for part in (slice(len(sizes)), slice(-len(sizes), None))
    )
    assert len(first.flatten(1).unique(dim=0)) == sum(sizes)
    assert not torch.equal(first, second)


def test_batches_of_one_image_train(joint_data: TrainingData) -> None:
    few = dataclasses.replace(
        joint_data.train,
        **{name: getattr(joint_data.train, name)[:2] for name in ("input", "target", "mask")},
    )
    config = small(batch_size=1, generator__depth=2)
    assert len(run(config, dataclasses.replace(joint_data, train=few), 1)) == 1


def test_images_of_any_size_train(make_data: Callable[..., TrainingData]) -> None:
    data = make_data(4, 2, 35, targets=("bone", "tissue"))
    assert len(run(small(batch_size=4), data, 1)) == 1


def test_divergence_is_told_in_its_epoch(joint_data: TrainingData) -> None:
    config = small(optimizer__learning_rate=1.0, generator__norm="none", loss__l1_weight=1e6)
    spoilt = dataclasses.replace(joint_data.train, target=joint_data.train.target * 1e30)
    with pytest.raises(TrainingDiverged, match="diverged in epoch 1") as caught:
        run(config, dataclasses.replace(joint_data, train=spoilt), 3)
    assert caught.value.epoch == 1


def test_a_network_that_does_not_fit_is_refused_at_once(joint_data: TrainingData) -> None:
    with pytest.raises(ValueError, match=r"generator.depth=5 needs images of at least 33 px"):
        train(small(generator__depth=5), joint_data, epochs=1, device=CPU)


def test_a_mask_without_body_is_refused(joint_data: TrainingData) -> None:
    mask = joint_data.validation.mask.clone()
    mask[2] = False
    pairs = dataclasses.replace(joint_data.validation, mask=mask)
    with pytest.raises(ValueError, match="validation image 2 has no body left"):
        train(small(), dataclasses.replace(joint_data, validation=pairs), epochs=1, device=CPU)


def test_a_record_survives_json(joint_data: TrainingData) -> None:
    (record,) = run(small(loss__adversarial="none"), joint_data, 1)
    assert EpochRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record


@pytest.mark.slow
def test_the_default_network_learns_bone_well_beyond_the_affine_copy(
    make_data: Callable[..., TrainingData],
) -> None:
    data = make_data(96, 16, 64, targets=("bone", "tissue"))
    config = TrialConfig()
    normalization = Normalization("absolute", data.input_mean, data.input_std, data.data_ranges)
    from dexsearch.models.generator import build_generator

    affine = build_generator(config.generator, n_targets=2).eval()
    start_from_affine(
        affine,
        normalization.normalize_input(data.train.input),
        normalization.from_physical(data.train.target),
        data.train.mask,
    )
    validator = Validator(data.validation, normalization, depth=config.generator.depth)
    before = validator.score(affine).ssim[0]
    curve = [record.val_ssim_bone for record in run(config, data, 8)]
    assert curve[-1] is not None
    assert curve[-1] > before + 0.2
    assert all(b > a - 0.02 for a, b in itertools.pairwise(curve))  # type: ignore[operator]
