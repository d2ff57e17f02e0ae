"""The split of one CT and the solution of several, against their closed forms."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import nnls

from dexsearch.physics.attenuation import cortical_bone_hu, effective_attenuation_per_cm
from dexsearch.volumes.two_bases import (
    all_soft,
    averaged_bases,
    decompose,
    two_bases,
    without_negatives,
)

PAIR = (80.0, 140.0)
TRIPLE = (80.0, 120.0, 140.0)


def columns(kvp: tuple[float, ...]) -> NDArray[np.float64]:
    """Return mu of soft tissue and bone relative to water, one row per tube voltage."""

    def mu(basis: str) -> NDArray[np.float64]:
        return np.array([effective_attenuation_per_cm(basis, one) for one in kvp])  # type: ignore

    return np.stack([mu("soft_tissue"), mu("cortical_bone")], axis=1) / mu("water")[:, None]


def relative_of(
    soft: NDArray[np.float32], bone: NDArray[np.float32], kvp: tuple[float, ...]
) -> list[NDArray[np.float32]]:
    return [(row[0] * soft + row[1] * bone).astype(np.float32) for row in columns(kvp)]


@pytest.mark.parametrize("kvp", [80.0, 120.0])
def test_the_split_keeps_mu_at_the_scanners_voltage(kvp: float) -> None:
    hu = np.linspace(-1000, 3000, 401, dtype=np.float32)
    soft, bone = two_bases(hu, kvp=kvp)
    mu = soft * effective_attenuation_per_cm("soft_tissue", kvp)
    mu = mu + bone * effective_attenuation_per_cm("cortical_bone", kvp)
    water = effective_attenuation_per_cm("water", kvp)
    np.testing.assert_allclose(mu, water * (1 + hu / 1000), rtol=1e-4, atol=1e-6)


def test_the_split_is_continuous_and_ends_in_pure_bone() -> None:
    cortical = cortical_bone_hu(120.0)
    hu = np.array([-1000, 0, 149.9, 150.1, cortical], np.float32)
    soft, bone = two_bases(hu, kvp=120.0)
    assert bone[:3].tolist() == [0.0, 0.0, 0.0]
    assert bone[3] < 1e-3
    assert bone[4] == pytest.approx(1.0, abs=1e-4)
    assert soft[0] == 0.0
    assert soft[4] == pytest.approx(0.0, abs=1e-4)
    assert soft[2] == pytest.approx(soft[3], rel=1e-3)


@pytest.mark.parametrize("kvp", [PAIR, TRIPLE, (60.0, 120.0)])
def test_what_was_mixed_from_both_bases_is_recovered(kvp: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    soft, bone = rng.uniform(0, 1.2, (2, 500)).astype(np.float32)
    solved = decompose(relative_of(soft, bone, kvp), kvp=kvp)
    np.testing.assert_allclose(solved, (soft, bone), atol=1e-5)
    np.testing.assert_allclose(without_negatives(*solved, kvp=kvp), (soft, bone), atol=1e-5)


@pytest.mark.parametrize("kvp", [PAIR, TRIPLE])
def test_without_negatives_is_least_squares_that_cannot_go_below_zero(
    kvp: tuple[float, ...],
) -> None:
    relative = np.random.default_rng(0).uniform(0, 1.5, (len(kvp), 200))
    solved = decompose(list(relative.astype(np.float32)), kvp=kvp)
    expected = [nnls(columns(kvp), one)[0] for one in relative.T]
    got = np.stack(without_negatives(*solved, kvp=kvp), axis=1)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_noise_of_10_hu_becomes_two_percent_of_bone_around_the_truth() -> None:
    noise = np.random.default_rng(0).normal(1.03, 0.010, (2, 20_000)).astype(np.float32)
    _, bone = decompose(list(noise), kvp=PAIR)
    assert bone.std() == pytest.approx(0.023, abs=0.001)
    assert without_negatives(*decompose(list(noise), kvp=PAIR), kvp=PAIR)[1].min() == 0.0


def test_what_is_all_soft_tissue_keeps_mu() -> None:
    soft = np.linspace(0, 1.2, 7, dtype=np.float32)
    for kvp in ((120.0,), PAIR):
        relative = relative_of(soft, np.zeros_like(soft), kvp)
        np.testing.assert_allclose(all_soft(relative, kvp=kvp), soft, atol=1e-6)
    assert all_soft(relative_of(soft, soft, (120.0,)), kvp=(120.0,))[-1] > 3 * soft[-1]


@pytest.mark.parametrize("kvp", [(80.0,), (120.0, 125.0), (80.0, 120.0, 140.0), (50.0, 120.0)])
def test_voltages_that_do_not_separate_two_bases_are_refused(kvp: tuple[float, ...]) -> None:
    volume = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="kVp"):
        decompose([volume] * min(2, len(kvp)), kvp=kvp)


def mean_of_eights(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(-1, 8).mean(axis=1)


def averaged(
    hu: NDArray[np.float32], noise_hu: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    _, bone = two_bases(hu, kvp=120.0)
    relative = mean_of_eights(1 + hu / 1000)
    return averaged_bases(relative, mean_of_eights(bone), kvp=120.0, noise_hu=noise_hu)


def test_without_noise_the_averaged_bone_is_kept_and_so_is_mu() -> None:
    hu = np.random.default_rng(0).choice([-850, 40, 400, 900], 8000).astype(np.float32)
    soft, bone = averaged(hu, 0.0)
    np.testing.assert_allclose(bone, mean_of_eights(two_bases(hu, kvp=120.0)[1]), atol=1e-6)
    (mixed,) = relative_of(soft, bone, (120.0,))
    np.testing.assert_allclose(mixed, mean_of_eights(1 + hu / 1000), atol=1e-5)


@pytest.mark.parametrize("sigma_hu", [30.0, 80.0, 120.0])
def test_noise_of_soft_tissue_and_of_its_edges_is_no_bone(sigma_hu: float) -> None:
    rng = np.random.default_rng(0)
    for share_of_lung in (0, 2, 6):
        hu = np.full((5000, 8), 50, np.float32)
        hu[:, :share_of_lung] = -850
        hu += rng.normal(0, sigma_hu, hu.shape).astype(np.float32)
        _, bone = averaged(hu.ravel(), sigma_hu)
        assert bone.mean() < 0.001
    alone = two_bases(rng.normal(50, sigma_hu, 40_000).astype(np.float32), kvp=120.0)[1].mean()
    assert sigma_hu < 100 or alone > 0.006


def test_even_bone_in_noise_keeps_its_amount() -> None:
    hu = np.random.default_rng(0).normal(250, 120, 80_000).astype(np.float32)
    _, bone = averaged(hu, 120.0)
    assert bone.mean() == pytest.approx(two_bases(np.float32([250]), kvp=120.0)[1][0], rel=0.1)


def test_where_nothing_may_be_bone_is_none() -> None:
    relative = np.linspace(0, 2, 9, dtype=np.float32)
    none = np.zeros_like(relative)
    soft, bone = averaged_bases(relative, none, none, kvp=120.0, noise_hu=20.0)
    assert not bone.any()
    np.testing.assert_allclose(soft, all_soft([relative], kvp=(120.0,)), rtol=1e-6)
