"""Laws of fresh exposures: other noise in every epoch, the same noise for the same seed."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dexsearch.config.trial import ExposureConfig, TrialConfig, trial_config
from dexsearch.data.pairs import DevicePathLengths, TrainingData
from dexsearch.physics.detector import log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.training import augmentation
from dexsearch.training.augmentation import FreshExposures
from dexsearch.training.inputs import StoredInputs
from dexsearch.training.loop import EpochRecord, train
from dexsearch.training.normalization import Normalization

CPU = torch.device("cpu")
FRESH = ExposureConfig(resample=True)
FEW = torch.arange(4)
MakeData = Callable[..., TrainingData]


def fresh(data: TrainingData, config: ExposureConfig = FRESH, *, seed: int = 0) -> FreshExposures:
    normalization = Normalization("absolute", data.input_mean, data.input_std, data.data_ranges)
    return FreshExposures(config, data, normalization, depth=3, seed=seed)


def small(**dotted: object) -> TrialConfig:
    values = {
        "generator.depth": 2, "generator.width": 4, "discriminator.width": 4,
        "discriminator.patch_px": 16, "batch_size": 8, "exposure.resample": True,
    }  # fmt: skip
    return trial_config(values | {key.replace("__", "."): value for key, value in dotted.items()})


def curve(config: TrialConfig, data: TrainingData, epochs: int, **more: object) -> list[object]:
    records: list[EpochRecord] = list(
        train(config, data, epochs=epochs, device=CPU, **more)  # type: ignore[arg-type]
    )
    return [dataclasses.replace(record, seconds=0.0) for record in records]


@pytest.fixture(scope="module")
def make_exposed(make_data: MakeData) -> MakeData:
    """Synthetic data with the path lengths and the exposure that its inputs stand for."""

    def exposed(n_train: int, size_px: int) -> TrainingData:
        data = make_data(n_train, 4, size_px, targets=("bone", "tissue"))
        bone, tissue = (data.train.target[:, channel] for channel in (0, 1))
        exposure, detector = Exposure(dose_mas=1.0), Detector(size_px=size_px, pixel_mm=3.0)
        stored = log_projections(
            tissue, bone, exposure, detector=detector, rays_per_pixel=1,
            rng=torch.Generator().manual_seed(5),
        )  # fmt: skip
        lengths = DevicePathLengths(tissue.numpy(), bone.numpy(), CPU)
        train = dataclasses.replace(data.train, input=stored[:, None], path_lengths=lengths)
        return dataclasses.replace(data, train=train, exposure=(exposure, detector))

    return exposed


def clean_images(data: TrainingData) -> torch.Tensor:
    assert data.train.path_lengths is not None
    assert data.exposure is not None
    exposure, detector = data.exposure
    lengths = data.train.path_lengths
    return log_projections(
        lengths.soft_cm[FEW].float(), lengths.bone_cm[FEW].float(), exposure,
        detector=detector, rays_per_pixel=1, rng=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(make_exposed: MakeData) -> TrainingData:
    return make_exposed(20, 32)


def test_every_epoch_batch_and_seed_has_noise_of_its_own(data: TrainingData) -> None:
    first = fresh(data).expose(FEW, epoch=1, number=0)
    assert torch.equal(first, fresh(data).expose(FEW, epoch=1, number=0))
    others = (
        fresh(data).expose(FEW, epoch=2, number=0),
        fresh(data).expose(FEW, epoch=1, number=1),
        fresh(data, seed=1).expose(FEW, epoch=1, number=0),
    )
    for other in others:
        assert not torch.equal(first, other)
        noise = torch.stack((first - first.mean(0), other - other.mean(0))).flatten(1)
        assert noise.isfinite().all()


def test_many_exposures_tend_to_the_clean_image(data: TrainingData) -> None:
    exposures = fresh(data)
    shots = torch.stack([exposures.expose(FEW, epoch=k, number=0) for k in range(200)])
    noise = shots.std(dim=0)
    off = (shots.mean(dim=0) - clean_images(data)).abs()
    assert (off < 6 * noise / 200**0.5 + 1e-3).all()
    assert noise.min() > 0


def test_a_fresh_exposure_lets_as_much_through_at_edges_as_the_stored_one(
    data: TrainingData,
) -> None:
    bone, tissue = (data.train.target[:, channel].numpy() for channel in (0, 1))
    edges = np.zeros_like(bone)
    edges[:, 10:14, 10:14] = 0.5
    lengths = DevicePathLengths(tissue, bone, CPU, edges=edges)
    edged = dataclasses.replace(data, train=dataclasses.replace(data.train, path_lengths=lengths))
    difference = fresh(data).expose(FEW, epoch=1, number=0) - fresh(edged).expose(
        FEW, epoch=1, number=0
    )
    np.testing.assert_allclose(difference.numpy(), edges[FEW], atol=1e-6)


def pixel_means(rays: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(rays[:, None], 2)[:, 0]


def with_two_rays_a_side(
    data: TrainingData, *, kvp: float, edges: bool = True
) -> tuple[TrainingData, torch.Tensor, torch.Tensor]:
    """Return views of many edges within pixels, and all of their rays."""
    assert data.exposure is not None
    rng = torch.Generator().manual_seed(3)
    soft_cm = 15.0 + 1.6 * torch.rand(len(data.train), 64, 64, generator=rng)
    bone_cm = 1.0 + 0.2 * torch.rand(len(data.train), 64, 64, generator=rng)
    means = pixel_means(soft_cm), pixel_means(bone_cm)
    exposure = dataclasses.replace(data.exposure[0], kvp=kvp, dose_mas=1e8)
    detector = Detector(size_px=32, pixel_mm=5.0)
    smooth, edged = (
        log_projections(*rays, exposure, detector=detector, rays_per_pixel=n, rng=None)
        for rays, n in ((means, 1), ((soft_cm, bone_cm), 2))
    )
    lengths = DevicePathLengths(
        means[0].numpy(), means[1].numpy(), CPU, edges=(smooth - edged).numpy() if edges else None
    )
    train = dataclasses.replace(data.train, path_lengths=lengths)
    exposed = dataclasses.replace(data, train=train, exposure=(exposure, detector))
    return exposed, soft_cm, bone_cm


@pytest.mark.parametrize(("made_at", "exposed_at"), [(120.0, 60.0), (60.0, 140.0)])
def test_edges_let_as_much_through_as_at_the_tube_voltage_drawn(
    data: TrainingData,
    made_at: float,
    exposed_at: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, soft_cm, bone_cm = with_two_rays_a_side(data, kvp=made_at)
    assert made.exposure is not None
    exposure = dataclasses.replace(made.exposure[0], kvp=exposed_at)
    monkeypatch.setattr(FreshExposures, "_drawn_exposure", lambda *_: exposure)
    found = fresh(made).expose(FEW, epoch=1, number=0)
    rays = soft_cm[FEW], bone_cm[FEW]
    exact, smooth = (
        log_projections(*lengths, exposure, detector=made.exposure[1], rays_per_pixel=n, rng=None)
        for lengths, n in ((rays, 2), (tuple(map(pixel_means, rays)), 1))
    )
    # Rounding to float16 shifts pixels by 0.001 each way, so the means are compared.
    effect = float((smooth - exact).mean())
    assert effect > 0.002
    assert float((found - exact).mean()) == pytest.approx(0.0, abs=0.25 * effect)


def test_data_of_several_rays_a_pixel_without_their_edges_are_refused(data: TrainingData) -> None:
    old, _, _ = with_two_rays_a_side(data, kvp=120.0, edges=False)
    with pytest.raises(ValueError, match="older version, so make them again"):
        train(small(), old, epochs=1, device=CPU)


@pytest.mark.parametrize(
    ("kvp", "jitter", "least", "most"),
    [(120.0, 80.0, 60, 140), (70.0, 20.0, 60, 90), (140.0, 5.0, 135, 140), (90.0, 0.9, 90, 90)],
)
def test_tube_voltages_are_drawn_evenly_from_those_that_a_tube_has(
    data: TrainingData,
    kvp: float,
    jitter: float,
    least: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert data.exposure is not None
    exposure = dataclasses.replace(data.exposure[0], kvp=kvp)
    exposures = fresh(
        dataclasses.replace(data, exposure=(exposure, data.exposure[1])),
        ExposureConfig(resample=True, kvp_jitter=jitter),
    )
    seen: list[float] = []

    def note(*args: object, **kwargs: object) -> torch.Tensor:
        seen.append(args[2].kvp)  # type: ignore[attr-defined]
        return torch.zeros(1, 1, 1)

    monkeypatch.setattr(augmentation, "log_projections", note)
    n = 40 * (most - least + 1)
    for epoch in range(n):
        exposures.expose(FEW[:1], epoch=epoch, number=0)
    counts = Counter(seen)
    assert set(counts) == set(map(float, range(least, most + 1)))
    assert max(counts.values()) < 40 + 6 * 40**0.5, "none is drawn much more often"


def test_dose_jitter_makes_some_images_noisier_than_others(data: TrainingData) -> None:
    same = torch.zeros(4, dtype=torch.int64)

    def noise_of(config: ExposureConfig) -> torch.Tensor:
        shots = fresh(data, config).expose(same, epoch=1, number=0)
        clean = fresh(data).expose(same.repeat(100), epoch=1, number=0).mean(dim=0)
        return (shots - clean).std(dim=(1, 2))

    even = noise_of(FRESH)
    uneven = noise_of(ExposureConfig(resample=True, dose_jitter=2.0))
    assert even.max() / even.min() < 1.2
    assert uneven.max() / uneven.min() > 1.3


def test_kvp_jitter_moves_the_whole_batch_and_stays_in_range(data: TrainingData) -> None:
    config = ExposureConfig(resample=True, kvp_jitter=80.0)
    means = [
        float(fresh(data, config).expose(FEW, epoch=epoch, number=0).mean()) for epoch in range(8)
    ]
    still = [float(fresh(data).expose(FEW, epoch=epoch, number=0).mean()) for epoch in range(8)]
    assert max(means) - min(means) > 20 * (max(still) - min(still))


def test_a_batch_is_normalised_and_padded_like_stored_inputs(make_exposed: MakeData) -> None:
    data = make_exposed(4, 35)
    normalization = Normalization("absolute", data.input_mean, data.input_std, data.data_ranges)
    stored = StoredInputs(normalization.normalize_input(data.train.input), depth=3)
    one = stored.batch(FEW, epoch=1, number=0)
    two = fresh(data).batch(FEW, epoch=1, number=0)
    assert one.shape == two.shape == (4, 1, 40, 40)
    assert one.stride() == two.stride()
    assert torch.equal(one, stored.batch(FEW, epoch=2, number=5))


def test_the_same_seed_gives_the_same_curve(data: TrainingData) -> None:
    jittered = {"exposure__dose_jitter": 0.5, "exposure__kvp_jitter": 10.0}
    config = small(**jittered)
    assert curve(config, data, 2) == curve(config, data, 2)
    assert curve(config, data, 2) != curve(small(), data, 2)
    assert curve(small(), data, 2) != curve(small(exposure__resample=False), data, 2)


def test_continuing_equals_an_uninterrupted_run(data: TrainingData, tmp_path: Path) -> None:
    whole = curve(small(), data, 3)
    broken = train(
        small(), data, epochs=3, device=CPU, checkpoints=tmp_path, checkpoint_every_s=0.0
    )
    next(broken), next(broken)
    broken.close()  # type: ignore[attr-defined]
    assert curve(small(), data, 3, checkpoints=tmp_path) == whole


def test_validation_and_the_affine_start_see_the_stored_inputs(data: TrainingData) -> None:
    still = dataclasses.replace(data, train=dataclasses.replace(data.train, path_lengths=None))
    lazy = {"optimizer__learning_rate": 1e-12, "loss__adversarial": "none"}
    stored = curve(small(exposure__resample=False, generator__norm="none", **lazy), still, 1)[0]
    exposed = curve(small(generator__norm="none", **lazy), data, 1)[0]
    assert exposed.val_ssim == pytest.approx(stored.val_ssim, abs=1e-5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("lost", ["path_lengths", "exposure"])
def test_data_that_cannot_be_exposed_anew_are_refused_at_once(
    data: TrainingData, lost: str
) -> None:
    if lost == "exposure":
        poor = dataclasses.replace(data, exposure=None)
    else:
        poor = dataclasses.replace(data, train=dataclasses.replace(data.train, path_lengths=None))
    with pytest.raises(ValueError, match=r"set exposure\.resample to false"):
        train(small(), poor, epochs=1, device=CPU)
