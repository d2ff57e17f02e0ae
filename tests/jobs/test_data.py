import itertools
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dexsearch.data.split_file import read_split_file
from dexsearch.data.splits import split_poses, split_subjects
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.errors import DataError, Interrupted
from dexsearch.jobs.data import import_dataset
from dexsearch.jobs.dataset_info import (
    check_named,
    describe,
    open_named,
    save_split,
    show_dataset,
)

SIZE_PX = 32
TURNS = tuple((0.0, 0.0, float(z)) for z in range(0, 180, 15))


def make(subject: str, pose: tuple[float, float, float]) -> Sample:
    rng = np.random.default_rng([len(subject), int(pose[2])])
    image, bone, tissue = rng.normal(5, 1, (3, SIZE_PX, SIZE_PX)).astype(np.float32)
    mask = np.pad(np.ones((26, 26), dtype=bool), 3)
    return Sample(subject, pose, input=image, bone=bone, tissue=tissue, mask=mask)


def write(path: Path, subjects: tuple[str, ...]) -> Dataset:
    split = split_subjects(subjects, seed=0) if len(subjects) > 2 else split_poses(TURNS)
    return write_dataset(
        path,
        (make(*one) for one in itertools.product(subjects, TURNS)),
        split,
        kind="phantom",
        pixel_mm=None,
        units=dict.fromkeys(("input", "bone", "tissue"), "cm"),
        source={},
    )


@pytest.fixture
def cohort(tmp_path: Path) -> Dataset:
    return write(tmp_path / "workspace" / "datasets" / "cohort", ("a", "bb", "ccc", "dddd"))


def test_info_holds_counts_split_digest_and_baselines(cohort: Dataset) -> None:
    info = describe(cohort, with_baselines=True)
    assert (info.images, info.subjects) == (48, 4)
    assert info.digest == cohort.manifest.digest
    assert info.split["holdout"] == {"images": 12, "subjects": 1}
    assert info.split["warning"] is None
    assert set(info.baselines or {}) == {"identity_affine", "nearest_pose", "constant"}
    assert set(info.baselines_whole or {}) == set(info.baselines or {})
    assert all(set(scores) == {"bone", "tissue"} for scores in (info.baselines or {}).values())
    assert {"images", "subjects", "split", "digest", "baselines"} <= set(asdict(info))


def test_info_for_people_names_every_number(cohort: Dataset) -> None:
    text = str(describe(cohort, with_baselines=True))
    assert "48 of 4 subjects, 32 x 32 px" in text
    assert "nearest_pose" in text
    assert "one volume" not in text
    assert "masked SSIM" not in str(describe(cohort, with_baselines=False))


def test_one_volume_is_said_to_leak_less_but_not_nothing(tmp_path: Path) -> None:
    info = describe(write(tmp_path / "ct", ("patient",)), with_baselines=False)
    assert "leaks less, not nothing" in info.split["warning"]


def test_views_in_the_guard_bands_are_counted(tmp_path: Path) -> None:
    dataset = import_dataset(
        tmp_path / "out", foreign_tree(tmp_path / "src"), size_px=32, tell=print
    )
    info = describe(dataset, with_baselines=False)
    assert info.split["left_out"] == len(TURNS) - info.images > 0
    assert f"guard band {info.split['left_out']:>6} left out" in str(info)
    assert "leaks less, not nothing" in str(info)
    assert "1 subject," in str(info)


def test_a_dataset_is_found_by_path_or_by_name(cohort: Dataset) -> None:
    workspace = cohort.path.parent.parent
    for name in (cohort.path, Path("cohort"), Path("datasets/cohort")):
        assert open_named(name, workspace).manifest == cohort.manifest
    with pytest.raises(DataError, match="'nowhere' does not exist"):
        open_named(Path("nowhere"), workspace)


def test_a_folder_of_the_same_name_does_not_hide_a_dataset(
    cohort: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cohort").mkdir()
    assert open_named(Path("cohort"), Path("workspace")).path.resolve() == cohort.path
    with pytest.raises(DataError, match=r"'workspace' is not a dataset") as refusal:
        open_named(Path("workspace"), tmp_path / "elsewhere")
    assert "remove" not in str(refusal.value.hint)


def test_the_contact_sheet_stands_beside_the_dataset(cohort: Dataset) -> None:
    before = sorted(cohort.path.rglob("*"))
    sheet = show_dataset(cohort, None, n_images=8)
    assert sheet.path == cohort.path.parent / "cohort.png"
    assert str(sheet) == str(sheet.path)
    with Image.open(sheet.path) as picture:
        assert picture.width > 2 * picture.height
    assert sorted(cohort.path.rglob("*")) == before


def test_the_contact_sheet_never_shows_the_holdout(cohort: Dataset, tmp_path: Path) -> None:
    for path in (cohort.path / "holdout").iterdir():
        path.unlink()
    sheet = show_dataset(cohort, tmp_path / "new" / "sheet.png", n_images=1000)
    assert sheet.images == 36
    assert sheet.path.is_file()


def foreign_tree(source: Path) -> Path:
    y, x = np.mgrid[0:40, 0:36]
    body = (y - 20) ** 2 + (x - 18) ** 2 < 15**2
    for folder, (_, _, z) in itertools.product(("input", "bone", "tissue"), TURNS):
        (source / folder).mkdir(parents=True, exist_ok=True)
        np.save(source / folder / f"0_0_{z:.0f}.npy", body * (5 + np.sin(x + z)))
    return source


def test_an_import_is_a_dataset(tmp_path: Path) -> None:
    dataset = import_dataset(
        tmp_path / "out", foreign_tree(tmp_path / "src"), size_px=32, tell=print
    )
    info = describe(dataset, with_baselines=True)
    assert info.kind == "import"
    assert (info.baselines or {})["identity_affine"]["bone"] == pytest.approx(1.0, abs=1e-3)


def test_a_split_that_was_saved_splits_again_the_same(cohort: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    save_split(cohort, file)
    split = read_split_file(file, subjects=("a", "bb", "ccc", "dddd"))
    for subset in ("train", "validation", "holdout"):
        assert {name for name, found in split.by_subject.items() if found == subset} == set(
            cohort.manifest.subjects(subset)
        )


def test_a_dataset_is_checked_by_its_name(cohort: Dataset) -> None:
    workspace = cohort.path.parent.parent
    assert check_named(Path("cohort"), workspace).ok
    array = cohort.path / "holdout" / "bone.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    report = check_named(Path("cohort"), workspace)
    assert not report.ok
    assert "holdout/bone.npy" in str(report)


def test_ctrl_c_during_an_import_keeps_what_is_done(tmp_path: Path) -> None:
    def interrupt(n_done: int, n_all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="are kept") as stopped:
        import_dataset(
            tmp_path / "out",
            foreign_tree(tmp_path / "src"),
            size_px=32,
            tell=print,
            progress=interrupt,
        )
    assert stopped.value.hint == "the same command continues where it stopped"
    assert import_dataset(
        tmp_path / "out", foreign_tree(tmp_path / "src"), size_px=32, tell=print
    ).path.is_dir()
