import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsearch.data.store import Dataset, Sample, open_dataset
from dexsearch.errors import DataError
from tests.data.conftest import POSES, SUBJECTS, make_sample, samples

Write = Callable[..., Dataset]


def test_what_was_written_is_read_back(dataset: Dataset) -> None:
    for subset, infos in dataset.manifest.images.items():
        arrays = dataset.arrays(subset)  # type: ignore[arg-type]
        for index, info in enumerate(infos):
            given = make_sample(info.subject, info.pose_deg)
            assert np.array_equal(arrays.input[index], given.input)
            assert np.array_equal(arrays.tissue[index], given.tissue.astype(np.float16))
            assert np.array_equal(arrays.mask[index], given.mask)
    assert dataset.manifest.n_images == len(SUBJECTS) * len(POSES)
    assert isinstance(dataset.arrays("train").input, np.memmap)


def test_no_subject_is_in_two_subsets(dataset: Dataset) -> None:
    manifest = dataset.manifest
    parts = [manifest.subjects(subset) for subset in ("train", "validation", "holdout")]
    assert sorted(sum(parts, ())) == sorted(SUBJECTS)
    assert not manifest.one_volume


def test_constants_come_from_the_training_images_inside_the_mask(dataset: Dataset) -> None:
    train = dataset.arrays("train")
    values = train.input[train.mask].astype(np.float64)
    assert dataset.manifest.input_mean == pytest.approx(values.mean(), rel=1e-9)
    assert dataset.manifest.input_std == pytest.approx(values.std(), rel=1e-6)
    for name in ("bone", "tissue"):
        low, high = np.percentile(train.target(name)[train.mask], (0.1, 99.9))
        assert dataset.manifest.data_ranges[name] == pytest.approx(high - low, rel=2e-3)


def test_constants_ignore_the_other_subjects(write: Write, split: object, tmp_path: Path) -> None:
    first = write()

    def louder() -> Iterator[Sample]:
        for sample in samples():
            if split.subset(sample.subject, sample.pose_deg) != "train":  # type: ignore[attr-defined]
                sample = replace(sample, input=sample.input * 9, bone=sample.bone * 9)
            yield sample

    second = write(louder(), path=tmp_path / "louder")
    assert second.manifest.data_ranges == first.manifest.data_ranges
    assert second.manifest.input_std == first.manifest.input_std
    assert second.manifest.digest != first.manifest.digest


def test_the_digest_depends_on_the_content_alone(write: Write, tmp_path: Path) -> None:
    first = write()
    again = write(path=tmp_path / "elsewhere" / "deep", seed=5)
    assert again.manifest.digest == first.manifest.digest
    one_pixel = [*samples()]
    one_pixel[0].bone[12, 12] += 1e-3
    assert write(one_pixel, path=tmp_path / "x").manifest.digest != first.manifest.digest


def test_the_same_request_finds_the_dataset_without_making_it_again(write: Write) -> None:
    def never() -> Iterator[Sample]:
        raise AssertionError("must not be consumed")
        yield

    first = write()
    assert write(never()) == first


def test_another_request_for_the_same_folder_is_refused(write: Write) -> None:
    write()
    with pytest.raises(DataError, match="already holds a dataset with seed 0, asked for 1") as hit:
        write(seed=1)
    assert hit.value.exit_code == 7


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_nothing_stays_behind_when_writing_is_interrupted(
    write: Write, tmp_path: Path, fault: type[BaseException]
) -> None:
    def interrupted() -> Iterator[Sample]:
        yield make_sample(SUBJECTS[0], POSES[0])
        raise fault

    with pytest.raises(fault):
        write(interrupted())
    assert list(tmp_path.iterdir()) == []


def spoiled(name: str, value: float) -> Sample:
    sample = make_sample(SUBJECTS[1], POSES[1])
    image = getattr(sample, name).copy()
    image[3, 4] = value
    return replace(sample, **{name: image})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (spoiled("input", np.nan), "input image subject-1 at 0, 0, 45 degrees holds 1 NaN"),
        (spoiled("bone", np.inf), "bone image subject-1 .* infinite"),
        (make_sample(SUBJECTS[1], POSES[1], size_px=16), r"shape \(16, 16\)"),
        (make_sample(SUBJECTS[0], POSES[0]), "is given twice"),
        (
            replace(make_sample(SUBJECTS[1], POSES[1]), mask=np.zeros((24, 24), dtype=bool)),
            "empty mask",
        ),
        (replace(make_sample(SUBJECTS[1], POSES[1]), subject="stranger"), "'stranger' is not"),
    ],
)
def test_a_bad_image_is_named_and_nothing_is_written(
    write: Write, tmp_path: Path, bad: Sample, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write([make_sample(SUBJECTS[0], POSES[0]), bad])
    assert list(tmp_path.iterdir()) == []


def test_a_body_too_small_to_be_scored_is_refused(write: Write, tmp_path: Path) -> None:
    thin = np.zeros((24, 24), dtype=bool)
    thin[7:17] = True
    bad = replace(make_sample(SUBJECTS[1], POSES[1]), mask=thin)
    with pytest.raises(DataError, match="subject-1 at 0, 0, 45 degrees shows so little") as hit:
        write([make_sample(SUBJECTS[0], POSES[0]), bad])
    assert "--size" in (hit.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_constant_is_found(dataset: Dataset) -> None:
    path = dataset.path / "manifest.json"
    values = json.loads(path.read_text())
    values["data_ranges"]["bone"] *= 1.01
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"manifest\.json: changed"):
        open_dataset(dataset.path).check_files()


def test_a_subset_without_images_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="subset without any"):
        write([make_sample(SUBJECTS[0], POSES[0])])
    with pytest.raises(DataError, match="0 images"):
        write([])


def test_constant_images_are_refused(write: Write) -> None:
    blank = np.zeros((24, 24), dtype=np.float32)
    with pytest.raises(DataError, match="bone images of the training subset are constant"):
        write([replace(sample, bone=blank) for sample in samples()])


def test_the_holdout_is_not_needed_to_open_a_dataset(dataset: Dataset) -> None:
    shutil.rmtree(dataset.path / "holdout")
    assert open_dataset(dataset.path).arrays("validation").mask.any()
    with pytest.raises(DataError, match="is missing"):
        dataset.arrays("holdout")


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as hit:
        open_dataset(tmp_path / "nowhere")
    assert "data phantom" in (hit.value.hint or "")


def test_a_half_written_folder_is_not_a_dataset(dataset: Dataset) -> None:
    (dataset.path / "manifest.json").unlink()
    with pytest.raises(DataError, match="not a dataset"):
        open_dataset(dataset.path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "\x00"])
def test_an_unreadable_manifest_is_named(dataset: Dataset, text: str) -> None:
    (dataset.path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: not a readable manifest"):
        open_dataset(dataset.path)


@pytest.mark.parametrize("number", [1, 99])
def test_a_manifest_of_another_format_is_refused(dataset: Dataset, number: int) -> None:
    path = dataset.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": number}))
    with pytest.raises(DataError, match=f"format {number} is not known .* reads format 2") as hit:
        open_dataset(dataset.path)
    assert "make the dataset again" in (hit.value.hint or "")


def test_a_truncated_array_is_named(dataset: Dataset) -> None:
    path = dataset.path / "train" / "bone.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"bone\.npy: unreadable"):
        dataset.arrays("train")


def test_a_changed_byte_is_found_and_named(dataset: Dataset) -> None:
    dataset.check_files()
    path = dataset.path / "validation" / "bone.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"validation/bone.npy: changed since it was written"):
        open_dataset(dataset.path).check_files()


def test_checking_never_opens_the_holdout(dataset: Dataset) -> None:
    for path in (dataset.path / "holdout").iterdir():
        path.unlink()
    open_dataset(dataset.path).check_files()


def test_a_pickled_array_is_never_loaded(dataset: Dataset) -> None:
    np.save(dataset.path / "train" / "bone.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"bone\.npy: unreadable"):
        dataset.arrays("train")


def test_a_missing_array_is_named(dataset: Dataset) -> None:
    (dataset.path / "validation" / "mask.npy").unlink()
    with pytest.raises(DataError, match=r"lacks validation/mask\.npy"):
        open_dataset(dataset.path)
