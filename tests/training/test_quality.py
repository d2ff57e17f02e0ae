"""Laws of the final epoch's scores; a plain NumPy, SciPy and scikit-image loop is the oracle."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dexsearch.data.pairs import DevicePathLengths, Pairs
from dexsearch.data.tumours import Tumours
from dexsearch.training.contrast import neighbourhood_px
from dexsearch.training.quality import Quality, QualityScorer, mean_quality
from dexsearch.training.sdnr import anatomy_limited, tumour_regions
from dexsearch.training.suppression import details, suppression

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import reference_quality as reference

N, SIZE_PX, PIXEL_MM = 3, 72, 4.0
CPU = torch.device("cpu")
TARGETS = ("bone", "tissue")


def scene(seed: int = 0) -> Pairs:
    """Draw ribs and a tumour in bodies; the input is a mixture of both materials, with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX].astype(float)
    radius = np.hypot((rows - 35.5) / 33, (columns - 35.5) / 30)
    mask = np.broadcast_to(radius < 1, (N, SIZE_PX, SIZE_PX)).copy()
    ribs = ((rows + 3 * np.sin(columns / 9)) % 9 < 3).astype(float)
    centres = np.array([[30.3, 41.2], [38.7, 27.4], [np.nan, np.nan]])
    bone, soft = [], []
    for row, column in centres:
        texture = ndimage.gaussian_filter(rng.normal(size=ribs.shape), 2) * 2
        spot = 2.0 * (np.hypot(rows - row, columns - column) < 3.5)
        bone.append(ribs * rng.uniform(0.6, 1.2) + 0.1 * texture)
        soft.append(16 * np.sqrt(np.clip(1 - radius**2, 0, None)) + texture + spot - 0.5 * ribs)
    bone_cm = (np.stack(bone) * mask).astype(np.float32)
    soft_cm = (np.stack(soft) * mask).astype(np.float32)
    image = 0.21 * soft_cm + 0.6 * bone_cm + 0.01 * rng.normal(size=soft_cm.shape)
    known = [float("nan") if np.isnan(row) else value for row, value in zip(
        centres[:, 0], [PIXEL_MM] * N, strict=True)]  # fmt: skip
    return Pairs(
        input=torch.from_numpy(image).float()[:, None],
        target=torch.from_numpy(np.stack((bone_cm, soft_cm), axis=1)),
        mask=torch.from_numpy(mask)[:, None],
        path_lengths=DevicePathLengths(soft_cm, bone_cm, CPU),
        tumours=Tumours(
            *torch.from_numpy(centres).float().unbind(dim=1),
            diameter_px=torch.tensor(known) / PIXEL_MM * 7,
            pixel_mm=torch.tensor(known),
        ),
    )


def predicted(pairs: Pairs, seed: int = 1) -> torch.Tensor:
    noise = torch.randn(pairs.target.shape, generator=torch.Generator().manual_seed(seed))
    bone = pairs.target[:, :1]
    return 0.97 * pairs.target + 0.3 * torch.cat((0 * bone, bone), dim=1) + 0.1 * noise


def scorer(pairs: Pairs) -> QualityScorer:
    return QualityScorer(pairs, targets=TARGETS, pixel_mm=PIXEL_MM)


def quality(pairs: Pairs, prediction: torch.Tensor) -> dict[str, float]:
    return mean_quality([scorer(pairs).score(prediction, slice(None))])


def copies(pairs: Pairs) -> torch.Tensor:
    found = scorer(pairs)
    return found._slopes * pairs.input + found._offsets


@pytest.mark.parametrize("seed", [0, 5])
def test_every_score_equals_the_plain_loop(seed: int) -> None:
    pairs = scene(seed)
    prediction = predicted(pairs)
    assert pairs.path_lengths is not None
    assert pairs.tumours is not None
    soft, bone = (
        a.float().numpy() for a in (pairs.path_lengths.soft_cm, pairs.path_lengths.bone_cm)
    )
    truth, masks, t = pairs.target.numpy(), pairs.mask[:, 0].numpy(), pairs.tumours
    before = reference.input_copies(pairs.input[:, 0].numpy(), truth, masks)
    expected: dict[str, list[float]] = {}
    sums = np.zeros(4)
    for i in range(N):
        stages = {"input": before[i], "prediction": prediction[i].numpy(), "truth": truth[i]}
        place = (float(t.row_px[i]), float(t.column_px[i]), float(t.diameter_px[i]))
        spot = reference.Spot(*place) if t.known[i] else None
        found, four = reference.scores(stages, soft[i], bone[i], masks[i], spot, PIXEL_MM)
        sums += four
        for name, value in found.items():
            expected.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in expected.items()}
    means |= {"bone_suppression": 1 - sums[0] / sums[1], "bone_leakage": sums[2] / sums[3]}
    assert quality(pairs, prediction) == pytest.approx(
        means | {"tumour_views": 2.0}, rel=1e-3, abs=1e-3
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -18.3])
def test_a_prediction_that_shows_nothing_has_ratio_zero(value: float) -> None:
    pairs = scene()
    found = quality(pairs, torch.full_like(pairs.target, value))
    for name in ("rib_bone", "rib_tissue", "tumour_tissue"):
        assert found[f"sdnr_{name}_prediction"] == 0
        assert found[f"sdnr_{name}_truth"] > 0


def test_a_view_that_shows_nothing_counts_and_all_stages_have_the_same_views() -> None:
    pairs = scene()
    blank = pairs.target.clone()
    blank[0] = 0
    each = scorer(pairs).score(pairs.target, slice(None)).views
    found = quality(pairs, blank)
    for name, n_views in (("rib_bone", N), ("rib_tissue", N), ("tumour_tissue", 2)):
        views = each[f"sdnr_{name}_truth"]
        assert int(views.isfinite().sum()) == n_views
        rest = float(views[1:].nansum()) / n_views
        assert found[f"sdnr_{name}_prediction"] == pytest.approx(rest, rel=1e-5)
    blank[0] = torch.nan
    assert "sdnr_rib_bone_prediction" not in quality(pairs, blank)


def test_the_input_scores_exactly_zero_and_leaks_everything() -> None:
    pairs = scene()
    found = quality(pairs, copies(pairs))
    assert found["bone_suppression"] == 0
    assert found["bone_leakage"] == 1
    assert found["tumour_error_mm"] == found["tumour_error_input_mm"]


def test_the_truth_scores_one_leaks_nothing_and_has_its_tumour_in_place() -> None:
    pairs = scene()
    found = quality(pairs, pairs.target.clone())
    assert found["bone_suppression"] == 1
    assert found["bone_leakage"] == 0
    assert found["tumour_error_mm"] == 0
    assert found["sdnr_rib_tissue_prediction"] == found["sdnr_rib_tissue_truth"]


def test_worse_than_the_input_is_negative_and_bone_taken_twice_leaks_negatively() -> None:
    pairs = scene()
    worse = pairs.target + 2 * (copies(pairs) - pairs.target)
    overdone = pairs.target - (copies(pairs) - pairs.target)
    assert quality(pairs, worse)["bone_suppression"] == pytest.approx(-3, rel=1e-4)
    assert quality(pairs, worse)["bone_leakage"] == pytest.approx(2, rel=1e-4)
    assert quality(pairs, overdone)["bone_suppression"] == pytest.approx(0, abs=1e-4)
    assert quality(pairs, overdone)["bone_leakage"] == pytest.approx(-1, rel=1e-4)


def test_what_lies_outside_the_body_does_not_matter() -> None:
    pairs = scene()
    prediction = predicted(pairs)
    spoilt = torch.where(pairs.mask, prediction, 1e3)
    assert quality(pairs, spoilt) == pytest.approx(quality(pairs, prediction), rel=1e-4, abs=1e-5)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.1, 50), offset=st.floats(-20, 20))
def test_the_unit_of_all_images_does_not_matter(scale: float, offset: float) -> None:
    pairs = scene()
    prediction = predicted(pairs)
    other = dataclasses.replace(pairs, target=scale * pairs.target + offset)
    assert quality(other, scale * prediction + offset) == pytest.approx(
        quality(pairs, prediction), rel=5e-3, abs=5e-3
    )


def test_a_batch_scores_as_its_images_one_by_one() -> None:
    pairs = scene()
    prediction = predicted(pairs)
    found = scorer(pairs)
    parts = [found.score(prediction[i : i + 1], slice(i, i + 1)) for i in range(N)]
    assert mean_quality(parts) == pytest.approx(quality(pairs, prediction), rel=1e-4)


def test_a_bone_head_has_ribs_and_nothing_of_tissue() -> None:
    pairs = scene()
    bone = dataclasses.replace(pairs, target=pairs.target[:, :1])
    found = QualityScorer(bone, targets=("bone",), pixel_mm=PIXEL_MM)
    means = mean_quality([found.score(bone.target, slice(None))])
    assert set(means) == {f"sdnr_rib_bone_{s}" for s in ("input", "prediction", "truth")}


def test_bad_input_is_refused() -> None:
    pairs = scene()
    with pytest.raises(ValueError, match="got targets"):
        QualityScorer(pairs, targets=("bone",), pixel_mm=PIXEL_MM)
    with pytest.raises(ValueError, match="pixel size is above 0"):
        QualityScorer(pairs, targets=TARGETS, pixel_mm=-1.0)
    mask = pairs.mask.clone()
    mask[1] = False
    with pytest.raises(ValueError, match="image 1 has an empty body mask"):
        details(pairs.target, mask, sigma_px=neighbourhood_px(PIXEL_MM))
    nothing = tumour_regions(*[torch.zeros(N)] * 2, torch.ones(N), pairs.mask[:, 0])
    with pytest.raises(ValueError, match="above 0"):
        anatomy_limited(pairs.target, nothing, pixel_mm=0.0)


def test_an_input_that_is_the_truth_already_has_no_ratio_and_is_left_out() -> None:
    truth = scene().target[:, 1]
    sums = suppression(truth, truth, truth, None)
    assert sums.ratio.isnan().all()
    assert mean_quality([Quality({}, sums)]) == {}
