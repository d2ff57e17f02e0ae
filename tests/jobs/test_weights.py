"""The weights that a dataset shows are those that its spectra give."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from dexsearch.cli.options import OutputFormat
from dexsearch.cli.output import print_result
from dexsearch.data.splits import split_subjects
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.jobs.weights import find_weights
from dexsearch.jobs.weights_result import WeightSearch
from dexsearch.physics import detector as exposing
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector

SIZE_PX = 40
SUBJECTS = tuple(f"subject-{index}" for index in range(4))


def _samples(*, ribs: bool) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    mask = (rows - 20) ** 2 + (columns - 20) ** 2 < 19**2
    for subject in SUBJECTS:
        smooth = ndimage.gaussian_filter(rng.normal(size=mask.shape), 2)
        soft = (14 + smooth / smooth.std()) * mask
        bone = (rows % 8 < 3) * mask if ribs else 0.1 * soft
        soft = soft - bone
        image = 0.2 * soft + 0.5 * bone + rng.normal(0, 0.01, mask.shape)
        arrays = (a.astype(np.float32) for a in (image, bone, soft))
        yield Sample(subject, (0.0, 0.0, 0.0), *arrays, mask)  # type: ignore[misc]


def make_dataset(
    path: Path,
    *,
    ribs: bool = True,
    unit: str = "cm",
    imaging: tuple[Exposure, Detector] | None = None,
) -> Dataset:
    names = ("exposure", "detector")
    source = {} if imaging is None else dict(zip(names, map(asdict, imaging), strict=True))
    units = {"input": "log", "bone": unit, "tissue": unit}
    split = split_subjects(SUBJECTS, seed=0)
    return write_dataset(
        path, _samples(ribs=ribs), split, kind="phantom", pixel_mm=5.0, units=units, source=source
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="module")
def found(dataset: Dataset) -> WeightSearch:
    return find_weights(dataset, None, pair_kvp=(60.0, 120.0))


def test_the_weights_found_are_those_of_the_spectra(found: WeightSearch) -> None:
    assert found.found.bone_cancelling == pytest.approx(found.computed.bone_cancelling, abs=0.02)
    assert found.found.soft_cancelling == pytest.approx(found.computed.soft_cancelling, abs=0.02)
    assert found.computed.bone_cancelling == pytest.approx(0.59, abs=0.01)


def test_the_curves_cross_zero_at_the_weights_found(found: WeightSearch) -> None:
    for curve, weight in (
        (found.bone_in_soft_image_per_cm, found.found.bone_cancelling),
        (found.soft_in_bone_image_per_cm, found.found.soft_cancelling),
    ):
        crossing = np.interp(
            0.0, *zip(*sorted(zip(curve, found.weights, strict=True)), strict=True)
        )
        assert crossing == pytest.approx(weight, abs=1e-3)
    assert found.weights[0] < found.found.bone_cancelling < found.weights[-1]


def test_the_result_is_a_table_json_and_a_picture_beside_the_dataset(
    found: WeightSearch, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found.picture == dataset.path.with_name("small-weights.png")
    assert found.picture.read_bytes().startswith(b"\x89PNG")
    assert "bone" in str(found)
    assert f"{found.found.bone_cancelling:.3f}" in str(found)
    print_result(found, OutputFormat.JSON)
    told = json.loads(capsys.readouterr().out)
    assert told["found"] == asdict(found.found)
    assert len(told["weights"]) == len(told["bone_in_soft_image_per_cm"])


def test_the_views_are_exposed_on_the_datasets_own_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exposure = Exposure(scatter_to_primary=2.0)
    detector = Detector(SIZE_PX, 5.0, "cone")
    cone = make_dataset(tmp_path / "cone", imaging=(exposure, detector))
    seen: list[object] = []

    def note(*args: object, **kwargs: object) -> object:
        seen.append(kwargs["detector"])
        return log_projections(*args, **kwargs)  # type: ignore[arg-type]

    log_projections = exposing.log_projections
    monkeypatch.setattr(exposing, "log_projections", note)
    find_weights(cone, None, pair_kvp=(60.0, 120.0))
    assert set(seen) == {detector}


def test_a_dataset_without_path_lengths_is_refused(tmp_path: Path) -> None:
    poor = make_dataset(tmp_path / "import", unit="log")
    with pytest.raises(DataError, match="has no path lengths"):
        find_weights(poor, None, pair_kvp=(60.0, 120.0))


@pytest.mark.parametrize("pair", [(120.0, 60.0), (80.0, 80.0), (40.0, 120.0)])
def test_tube_voltages_that_are_no_pair_are_refused(
    dataset: Dataset, pair: tuple[float, float]
) -> None:
    with pytest.raises(ConfigurationError):
        find_weights(dataset, None, pair_kvp=pair)


def test_a_dataset_whose_bone_only_follows_its_soft_tissue_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    bare = make_dataset(tmp_path / "bare", ribs=False)
    with pytest.raises(DataError, match="do not vary independently"):
        find_weights(bare, tmp_path / "w.png", pair_kvp=(60.0, 120.0))
    assert not (tmp_path / "w.png").exists()
