"""Laws of every option of a run: the same curve twice, and the same when interrupted."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.data.pairs import DevicePathLengths, TrainingData
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.training.checkpoint import RunState, newest_valid_checkpoint
from dexsearch.training.loop import EpochRecord, TrainingDiverged, TrainingOutOfMemory, train
from dexsearch.training.networks import Networks
from dexsearch.training.precision import Precision, fastest_precision

CPU = torch.device("cpu")
EPOCHS = 3
OPTIONS: dict[str, dict[str, object]] = {
    "spectral norm": {"discriminator.spectral_norm": True},
    "spectral norm beside instance norm": {
        "discriminator.spectral_norm": True,
        "discriminator.norm": "instance",
    },
    "cosine": {"optimizer.schedule": "cosine"},
    "warm-up": {"optimizer.warmup_epochs": 1.5},
    "two time scales": {"optimizer.discriminator_ratio": 4.0},
    "SSIM loss": {"loss.ssim_weight": 10.0},
    "no average": {"ema_decay": 0.0},
    "fresh exposures": {"exposure.resample": True, "exposure.dose_jitter": 0.5},
    "all at once": {
        "discriminator.spectral_norm": True,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_epochs": 0.5,
        "optimizer.discriminator_ratio": 2.0,
        "loss.ssim_weight": 5.0,
        "loss.adversarial": "hinge",
        "exposure.resample": True,
    },
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def small(options: dict[str, object]) -> TrialConfig:
    values: dict[str, object] = {"generator.depth": 2, "generator.width": 4, "batch_size": 8}
    values |= {"discriminator.width": 4, "discriminator.patch_px": 16}
    return trial_config(values | options)


@pytest.fixture(scope="module")
def data(joint_data: TrainingData) -> TrainingData:
    """Images that can be exposed anew."""
    bone, tissue = joint_data.train.target[:, 0], joint_data.train.target[:, 1]
    lengths = DevicePathLengths(tissue.numpy(), bone.numpy(), CPU)
    pairs = dataclasses.replace(joint_data.train, path_lengths=lengths)
    exposure = Exposure(dose_mas=1.0), Detector(size_px=32, pixel_mm=3.0)
    return dataclasses.replace(joint_data, train=pairs, exposure=exposure)


def begun(config: TrialConfig, data: TrainingData, folder: Path) -> Iterator[EpochRecord]:
    return train(
        config, data, epochs=EPOCHS, device=CPU, checkpoints=folder, checkpoint_every_s=0.0
    )


def scores(records: list[EpochRecord]) -> list[EpochRecord]:
    return [dataclasses.replace(record, seconds=0.0) for record in records]


def tensors(folder: Path) -> dict[str, bytes]:
    checkpoint = newest_valid_checkpoint(folder)
    assert checkpoint is not None
    assert checkpoint.state.epoch == EPOCHS
    return dict(checkpoint.contents)


@every_option
def test_the_same_curve_twice_and_when_interrupted_within_an_epoch(
    data: TrainingData, tmp_path: Path, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(options)
    whole = list(begun(config, data, tmp_path / "whole"))
    assert scores(list(begun(config, data, tmp_path / "again"))) == scores(whole)
    assert tensors(tmp_path / "again") == tensors(tmp_path / "whole")
    broken = begun(config, data, tmp_path / "broken")
    next(broken)
    step = Networks.train_step

    def interrupted(networks: Networks, *batch: torch.Tensor) -> torch.Tensor:
        if networks.step == 3:  # two steps an epoch: the first of the second epoch is done
            raise KeyboardInterrupt
        return step(networks, *batch)

    monkeypatch.setattr(Networks, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(broken)
    monkeypatch.setattr(Networks, "train_step", step)
    assert scores(list(begun(config, data, tmp_path / "broken"))) == scores(whole)
    assert tensors(tmp_path / "broken") == tensors(tmp_path / "whole")


@every_option
def test_the_option_changes_the_curve(data: TrainingData, options: dict[str, object]) -> None:
    with_it, without = (
        list(train(small(chosen), data, epochs=EPOCHS, device=CPU)) for chosen in (options, {})
    )
    assert scores(with_it)[-1] != scores(without)[-1]


def test_options_of_the_discriminator_are_harmless_without_one(data: TrainingData) -> None:
    alone: dict[str, object] = {"loss.adversarial": "none"}
    absent = {"discriminator.spectral_norm": True, "optimizer.discriminator_ratio": 4.0}
    one, two = (
        list(train(small(alone | more), data, epochs=1, device=CPU)) for more in (absent, {})
    )
    assert scores(one) == scores(two)


def test_the_discriminator_keeps_its_ratio_throughout_the_schedule(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []
    step = Networks.train_step

    def watched(networks: Networks, *batch: torch.Tensor) -> torch.Tensor:
        assert networks.adversary is not None
        adams = (networks.generator_adam, networks.adversary.adam)
        rates.append([adam.param_groups[0]["lr"] for adam in adams])
        return step(networks, *batch)

    monkeypatch.setattr(Networks, "train_step", watched)
    options = {"optimizer.schedule": "cosine", "optimizer.warmup_epochs": 1.0}
    options |= {"optimizer.discriminator_ratio": 4.0, "optimizer.learning_rate": 2e-3}
    list(train(small(options), data, epochs=2, device=CPU))
    assert [a for a, _ in rates] == pytest.approx([1e-3, 2e-3, 2e-3, 1e-3])
    assert [b for _, b in rates] == pytest.approx([4 * a for a, _ in rates])


def test_a_rate_moves_the_network_that_it_is_of() -> None:
    def moved(ratio: float) -> tuple[float, float]:
        networks = Networks(small({"optimizer.discriminator_ratio": ratio}), device=CPU)
        assert networks.adversary is not None
        both = (networks.generator, networks.adversary.discriminator)
        before = [[p.detach().clone() for p in network.parameters()] for network in both]
        networks.train_step(torch.randn(4, 1, 32, 32), torch.randn(4, 2, 32, 32))
        return tuple(  # type: ignore[return-value]
            max(
                float((p.detach() - q).abs().max()) for p, q in zip(n.parameters(), b, strict=True)
            )
            for n, b in zip(both, before, strict=True)
        )

    rate = TrialConfig().optimizer.learning_rate  # Adam's first step is the rate itself
    assert moved(3.0) == pytest.approx((rate, 3 * rate), rel=1e-2)


@pytest.mark.parametrize("epochs", [EPOCHS - 1, EPOCHS + 1])
def test_a_cosine_run_of_another_length_may_not_be_continued(
    data: TrainingData, tmp_path: Path, epochs: int
) -> None:
    config = small({"optimizer.schedule": "cosine"})
    list(begun(config, data, tmp_path))
    with pytest.raises(ValueError, match=f"holds a run of 3 epochs, got {epochs}; with optimizer"):
        train(config, data, epochs=epochs, device=CPU, checkpoints=tmp_path)
    assert len(list(begun(config, data, tmp_path))) == EPOCHS


def test_a_constant_run_may_go_on_longer(data: TrainingData, tmp_path: Path) -> None:
    config = small({"optimizer.warmup_epochs": 1.0})
    list(begun(config, data, tmp_path / "short"))
    longer = {"epochs": EPOCHS + 1, "device": CPU}
    went_on = list(train(config, data, checkpoints=tmp_path / "short", **longer))  # type: ignore[arg-type]
    assert scores(went_on) == scores(list(train(config, data, **longer)))  # type: ignore[arg-type]


def test_a_checkpoint_stored_before_lengths_were_is_of_a_run_without(
    data: TrainingData, tmp_path: Path
) -> None:
    list(begun(small({}), data, tmp_path))
    checkpoint = newest_valid_checkpoint(tmp_path)
    assert checkpoint is not None
    values: dict[str, Any] = checkpoint.state.as_dict()
    assert values.pop("epochs") is None
    del values["config"]["optimizer"]["schedule"], values["config"]["loss"]["ssim_weight"]
    assert RunState.from_dict(values) == checkpoint.state


def test_a_warm_up_longer_than_the_run_is_refused_at_once(data: TrainingData) -> None:
    with pytest.raises(ValueError, match=r"warmup_epochs=4 for a run of 3 epochs"):
        train(small({"optimizer.warmup_epochs": 4.0}), data, epochs=3, device=CPU)


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "the L1 loss is nan"), (float("inf"), "the L1 loss is inf")]
)
def test_one_target_that_is_no_number_ends_the_run_with_its_first_step(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, value: float, said: str
) -> None:
    target = data.train.target.clone()
    target[:, 0, 5, 5] = value
    spoilt = dataclasses.replace(data, train=dataclasses.replace(data.train, target=target))
    steps = []
    step = Networks.train_step

    def counted(networks: Networks, *batch: torch.Tensor) -> torch.Tensor:
        steps.append(networks.step)
        return step(networks, *batch)

    monkeypatch.setattr(Networks, "train_step", counted)
    with pytest.raises(TrainingDiverged, match=said):
        list(train(small({"loss.adversarial": "none"}), spoilt, epochs=3, device=CPU))
    assert steps == [0]


def test_a_discriminator_that_blew_up_is_named(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Networks.train_step

    def blown_up(networks: Networks, *batch: torch.Tensor) -> torch.Tensor:
        assert networks.adversary is not None
        if networks.step == 2:
            with torch.no_grad():
                next(networks.adversary.discriminator.parameters()).fill_(float("inf"))
        return step(networks, *batch)

    monkeypatch.setattr(Networks, "train_step", blown_up)
    with pytest.raises(TrainingDiverged, match=r"epoch 2: the (generator|discriminator) loss is"):
        list(train(small({"discriminator.norm": "none"}), data, epochs=3, device=CPU))


def test_out_of_memory_names_the_step_and_what_helps(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Networks.train_step

    def too_large(networks: Networks, *batch: torch.Tensor) -> torch.Tensor:
        if networks.step == 3:
            torch.empty(2**60, dtype=torch.uint8)  # a real refusal of torch's allocator
        return step(networks, *batch)

    monkeypatch.setattr(Networks, "train_step", too_large)
    told = r"out of memory in epoch 2, step 4 \(batch 2 of 2, 8 images\): .*; lower batch_size"
    with pytest.raises(TrainingOutOfMemory, match=told) as caught:
        list(train(small({}), data, epochs=3, device=CPU))
    assert isinstance(caught.value, MemoryError)
    assert str(2**60) in str(caught.value)


def test_out_of_memory_while_a_run_is_set_up_is_told_at_once(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(Networks, "__init__", too_large)
    told = "out of memory while setting up the run: .*; lower batch_size"
    with pytest.raises(TrainingOutOfMemory, match=told):
        train(small({}), data, epochs=3, device=CPU)


def test_another_error_keeps_its_class(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(networks: Networks, *batch: torch.Tensor) -> torch.Tensor:
        return torch.ones(2) @ torch.ones(3)

    monkeypatch.setattr(Networks, "train_step", broken)
    with pytest.raises(RuntimeError, match="size") as caught:
        list(train(small({}), data, epochs=1, device=CPU))
    assert not isinstance(caught.value, MemoryError)


@pytest.mark.skipif(
    fastest_precision(CPU).dtype is not torch.bfloat16,
    reason="this processor does not multiply bfloat16; training is in float32 here",
)
def test_training_in_bfloat16_is_as_good_as_in_float32(
    make_data: Callable[..., TrainingData], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_data(64, 8, 32, targets=("bone", "tissue"))
    config = trial_config({"generator.depth": 3, "generator.width": 8, "batch_size": 8})
    curves = []
    for dtype in (torch.bfloat16, torch.float32):
        chosen = Precision("cpu", dtype)
        monkeypatch.setattr("dexsearch.training.networks.fastest_precision", lambda _, p=chosen: p)
        curves.append([r.val_ssim for r in train(config, images, epochs=6, device=CPU)])
    half, single = curves
    assert half != single
    assert single[-1] > single[0] + 0.1
    assert half[-1] == pytest.approx(single[-1], abs=0.03)
