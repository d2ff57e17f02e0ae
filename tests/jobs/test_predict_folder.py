"""Many images: nothing is done twice, nothing is lost, and what cannot be done is named."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from safetensors.torch import load_file, save
from typer.testing import CliRunner

from dexsearch.cli.app import app
from dexsearch.errors import ConfigurationError, DataError, EnvironmentFault, StudyBusy
from dexsearch.images.reading import read_image
from dexsearch.inference.package import Package, open_package, write_package
from dexsearch.inference.predict import load_predictor
from dexsearch.jobs.predict import Options, Predictions, predict_folder, predict_image
from dexsearch.jobs.predict_journal import JOURNAL_NAME, Journal
from tests.images.support.dx import dx_image
from tests.jobs.test_predict import make_workspace

MODEL = "dexsearch-joint"
RNG = np.random.default_rng(0)


def save_dx(path: Path, size: tuple[int, int] = (24, 30), **attributes: object) -> Path:
    """A chest-like DX image FOR PROCESSING, 12 bits."""
    dataset = dx_image(size)
    rows, columns = np.indices(size)
    dataset.PixelData = ((rows * 97 + columns * 31) % 4096).astype("<u2").tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    make_workspace(tmp_path / "w")
    return tmp_path / "w"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an image of every kind, one of them deeper down."""
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    np.save(folder / "a.npy", RNG.normal(3, 0.8, (20, 33)))
    levels = RNG.integers(0, 60_000, (18, 25)).astype(np.uint16)
    Image.fromarray(levels).save(folder / "b.png")
    Image.fromarray((levels // 256).astype(np.uint8)).save(folder / "deep" / "c.tif")
    save_dx(folder / "deep" / "er" / "1.2.840.7")
    return folder


def run(
    workspace: Path, folder: Path, output: Path, options: Options | None = None, model: str = MODEL
) -> tuple[Predictions, list[str]]:
    told: list[str] = []
    done = predict_folder(
        model, folder, output, workspace=workspace, tell=told.append, options=options
    )
    return done, told


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*_*.*")}


def test_each_image_gives_files_of_its_kind_in_its_place(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    before = content(images)
    done, told = run(workspace, images, tmp_path / "out")
    assert sorted(content(tmp_path / "out")) == [
        "a_bone.npy", "a_bone.png", "a_tissue.npy", "a_tissue.png", "b_bone.png", "b_tissue.png",
        "deep/c_bone.tif", "deep/c_tissue.tif", "deep/er/1.2.840.7_bone.dcm",
        "deep/er/1.2.840.7_tissue.dcm", "predictions.jsonl",
    ]  # fmt: skip
    for image in done.images:
        assert all(read_image(file).shape == image.size_px for file in image.files)
    assert any(line.startswith("4 images predicted") for line in told)
    assert content(images) == before


def test_16_bit_pictures_hold_every_value_and_say_the_ends_of_their_scale(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    run(workspace, images, tmp_path / "out")
    run(workspace, images, tmp_path / "numbers", Options(kind="npy"))
    for picture, numbers in (("b_bone.png", "b_bone.npy"), ("deep/c_bone.tif", "deep/c_bone.npy")):
        with Image.open(tmp_path / "out" / picture) as opened:
            text = opened.text["Window"] if picture.endswith("png") else opened.tag_v2[270]  # type: ignore[attr-defined]
        black, white = (float(part.split()[1]) for part in text.split("; ")[-1].split(", "))
        back = read_image(tmp_path / "out" / picture) / 65535 * (white - black) + black
        exact = read_image(tmp_path / "numbers" / numbers)
        assert np.abs(back - exact).max() <= 0.6 * (white - black) / 65535


def test_what_is_done_is_not_done_again(tmp_path: Path, workspace: Path, images: Path) -> None:
    run(workspace, images, tmp_path / "out")
    before = times(tmp_path / "out")
    done, told = run(workspace, images, tmp_path / "out")
    assert all(image.skipped for image in done.images)
    assert times(tmp_path / "out") == before
    assert any("4 had been, by the same weights from the same images" in line for line in told)


def test_what_was_changed_damaged_or_lost_is_done_again_and_nothing_else(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    run(workspace, images, tmp_path / "out")
    good = content(tmp_path / "out")
    np.save(images / "a.npy", RNG.normal(3, 0.8, (20, 33)))
    (tmp_path / "out" / "b_bone.png").write_bytes(good["b_bone.png"][:-5])
    (tmp_path / "out" / "deep" / "c_tissue.tif").unlink()
    done, _ = run(workspace, images, tmp_path / "out")
    assert [image.input.name for image in done.images if image.skipped] == ["1.2.840.7"]
    now = content(tmp_path / "out")
    assert now["a_bone.npy"] != good["a_bone.npy"]
    assert {n: c for n, c in now.items() if n[0] in "bd"} == {
        n: c for n, c in good.items() if n[0] in "bd"
    }


def test_other_weights_predict_again(tmp_path: Path, workspace: Path, images: Path) -> None:
    first, _ = run(workspace, images, tmp_path / "out")
    package = open_package(next((workspace / "mlartifacts" / "generators").iterdir()))
    weights = {name: value * 1.1 for name, value in load_file(package.weights).items()}
    other = write_package(
        tmp_path / "other", weights=save(weights), card=replace(package.card, trial=2), curve=[],
        draw=lambda folder: None,
    )  # fmt: skip
    second, _ = run(workspace, images, tmp_path / "out", model=str(other.path))
    assert not any(image.skipped for image in second.images)
    bone = dcmread(tmp_path / "out" / "deep" / "er" / "1.2.840.7_bone.dcm")
    assert other.files["weights.safetensors"] in bone.DerivationDescription
    assert first.images[0].weights_sha256 != second.images[0].weights_sha256


def test_a_command_that_was_killed_goes_on_where_it_stopped(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_folder(
            MODEL, images, tmp_path / "out", workspace=workspace, tell=lambda _: None,
            progress=kill,
        )  # fmt: skip
    done, _ = run(workspace, images, tmp_path / "out")
    assert [image.skipped for image in done.images] == [True, True, False, False]
    run(workspace, images, tmp_path / "whole")
    whole, continued = content(tmp_path / "whole"), content(tmp_path / "out")
    del whole[JOURNAL_NAME], continued[JOURNAL_NAME]
    assert continued == whole


def damage(folder: Path) -> None:
    """Add an image of every kind that cannot be used."""
    (folder / "text.png").write_text("not an image")
    (folder / "text.dcm").write_text("not an image")
    Image.fromarray(RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / "colour.png")
    cut = save_dx(folder / "cut.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(cut[:-100])
    save_dx(folder / "rgb.dcm", PhotometricInterpretation="RGB", SamplesPerPixel=3)
    np.save(folder / "nan.npy", np.full((8, 8), np.nan))
    np.save(folder / "cube.npy", np.zeros((4, 5, 6)))
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "empty.tif").touch()


REASONS = {
    "colour.png": "a colour picture", "cube.npy": "shape (4, 5, 6)", "cut.dcm": "cut.dcm",
    "empty.tif": "not a readable TIFF", "nan.npy": "NaN", "objects.npy": "pickled",
    "rgb.dcm": "pixels are RGB", "text.dcm": "not a readable DICOM", "text.png": "not a readable",
}  # fmt: skip


def test_images_that_cannot_be_used_are_named_and_the_others_done(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    damage(images)
    (images / "README.txt").write_text("notes")
    (images / ".hidden.npy").write_text("rubbish")
    before = content(images)
    done, told = run(workspace, images, tmp_path / "out")
    assert len(done.images) == 4
    failed = {failure.input.name: failure.error for failure in done.failed}
    assert sorted(failed) == sorted(REASONS)
    for name, reason in REASONS.items():
        assert reason in failed[name], failed[name]
        assert any(line.startswith("error: ") and name in line for line in told)
    assert f"{images}: 1 of 14 files are no images and left out" in told
    assert content(images) == before
    with pytest.raises(DataError, match=r"9 of 13 images could not be predicted: colour\.png, "):
        done.refuse_failures()


def test_the_command_prints_what_was_done_and_exits_with_7(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    damage(images)
    result = CliRunner().invoke(
        app,
        ["predict", MODEL, str(images), str(tmp_path / "out"), "--workspace", str(workspace),
         "--format", "json", "--compare"],
    )  # fmt: skip
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 7
    printed = json.loads(result.stdout)
    assert [len(printed["images"]), len(printed["failed"])] == [4, 9]
    assert printed["images"][0]["files"][-1] == str(tmp_path / "out" / "a_compare.png")
    with Image.open(tmp_path / "out" / "deep" / "er" / "1.2.840.7_compare.png") as picture:
        assert picture.text["Comment"] == "research software, not for diagnosis"  # type: ignore[attr-defined]


def test_a_folder_without_images_is_refused(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    with pytest.raises(DataError, match="none of its 1 files is an image"):
        run(workspace, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_of_the_images_is_no_output(workspace: Path, images: Path) -> None:
    for output in (images, images / "deep" / ".."):
        with pytest.raises(ConfigurationError, match="as the folder of the images"):
            run(workspace, images, output)


def test_an_output_inside_the_input_is_not_taken_for_input(workspace: Path, images: Path) -> None:
    first, _ = run(workspace, images, images / "out")
    second, _ = run(workspace, images, images / "out")
    assert [len(first.images), len(second.images)] == [4, 4]


def test_what_was_predicted_is_not_taken_for_input(
    workspace: Path, images: Path, tmp_path: Path
) -> None:
    predict_image(MODEL, images / "a.npy", images, workspace=workspace, tell=lambda _: None)
    run(workspace, images, images / "one")
    done, told = run(workspace, images, tmp_path / "out")
    assert len(done.images) == 4
    assert not any("no images" in line for line in told)


def test_an_input_that_is_not_there_is_told(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"chests: does not exist"):
        predict_image(
            MODEL, tmp_path / "chests", tmp_path / "out", workspace=workspace, tell=lambda _: None
        )


def test_a_file_of_somebody_else_is_never_replaced(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    (tmp_path / "out").mkdir()
    truth = tmp_path / "out" / "a_bone.npy"
    np.save(truth, np.ones(3))
    before = truth.read_bytes()
    done, _ = run(workspace, images, tmp_path / "out")
    assert truth.read_bytes() == before
    assert "was not made by dexsearch predict" in done.failed[0].error
    assert len(done.images) == 3
    with pytest.raises(DataError, match="was not made by"):
        predict_image(
            MODEL, images / "a.npy", tmp_path / "out", workspace=workspace, tell=lambda _: None
        )


def test_the_source_is_never_replaced(tmp_path: Path, workspace: Path, images: Path) -> None:
    source = tmp_path / "x_bone.npy"
    shutil.copy(images / "a.npy", source)
    before = source.read_bytes()
    with pytest.raises(DataError, match="would replace an input"):
        predict_image(MODEL, source, tmp_path / "x.npy", workspace=workspace, tell=lambda _: None)
    assert source.read_bytes() == before
    assert not (tmp_path / "x_tissue.npy").exists()


def test_two_inputs_of_one_stem_do_not_replace_each_other(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    shutil.copy(images / "b.png", images / "a.png")
    done, _ = run(workspace, images, tmp_path / "out")
    (failure,) = done.failed
    assert failure.input.name == "a.png"
    assert "would replace that of a.npy" in failure.error


def test_an_output_that_is_a_file_or_cannot_be_made_is_refused(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is a file"):
        run(workspace, images, tmp_path / "file")
    with pytest.raises(EnvironmentFault, match="cannot write"):
        run(workspace, images, tmp_path / "file" / "below")


def test_a_full_disk_stops_the_command_and_the_next_one_goes_on(
    tmp_path: Path, workspace: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("pydicom.dataset.Dataset.save_as", refuse)
        with pytest.raises(EnvironmentFault, match="No space left"):
            run(workspace, images, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if "partial" in path.name]
    done, _ = run(workspace, images, tmp_path / "out")
    assert [image.skipped for image in done.images] == [True, True, True, False]


def test_a_journal_that_was_edited_makes_nothing_fail(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / JOURNAL_NAME).write_text('{"event":"predicted","output":"a"}\n{"torn')
    done, _ = run(workspace, images, tmp_path / "out")
    assert len(done.images) == 4
    assert not any(image.skipped for image in done.images)


def test_one_process_at_a_time_writes_a_folder(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    other = Journal(tmp_path / "out")
    other.open()
    try:
        with pytest.raises(StudyBusy, match="is being written by"):
            run(workspace, images, tmp_path / "out")
    finally:
        other.close()


def test_dicom_cannot_be_made_of_what_knows_no_patient(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    done, _ = run(workspace, images, tmp_path / "out", Options(kind="dicom"))
    assert [image.input.name for image in done.images] == ["1.2.840.7"]
    assert all("know the patient" in failure.error for failure in done.failed)


def test_the_same_note_of_many_images_is_told_once(
    tmp_path: Path, workspace: Path, images: Path
) -> None:
    _, told = run(workspace, images, tmp_path / "out")
    grey = [line for line in told if "grey levels have no unit" in line]
    assert len(grey) == 2
    assert grey[1].startswith("2 more like b.png: ")


@pytest.fixture
def spaced(tmp_path: Path, workspace: Path) -> Package:
    """A generator that was trained at pixels of 0.4 mm."""
    package = open_package(next((workspace / "mlartifacts" / "generators").iterdir()))
    return write_package(
        tmp_path / "spaced", weights=package.weights.read_bytes(),
        card=replace(package.card, pixel_mm=0.4), curve=[], draw=lambda folder: None,
    )  # fmt: skip


def bone_of(
    package: Package, image: Path, output: Path, options: Options | None = None
) -> tuple[np.ndarray, list[str]]:
    told: list[str] = []
    done = predict_image(
        str(package.path), image, output, workspace=output, tell=told.append, options=options
    )
    return read_image(done.files[0]), told


def test_an_image_is_predicted_at_the_pixel_size_of_the_training_images(
    tmp_path: Path, spaced: Package
) -> None:
    coarse = RNG.normal(3, 0.8, (16, 20)).astype(np.float32)
    np.save(tmp_path / "fine.npy", np.kron(coarse, np.ones((2, 2), np.float32)))
    bone, told = bone_of(spaced, tmp_path / "fine.npy", tmp_path / "out", Options(pixel_mm=0.2))
    expected = load_predictor(spaced).predict(coarse)["bone"]
    assert bone.shape == (32, 40)
    blocks = bone.reshape(16, 2, 20, 2).mean(axis=(1, 3))
    inner = (slice(1, -1), slice(1, -1))
    smoothed = (  # linear interpolation spreads a pixel by an eighth to each side
        0.75 * expected[inner] + 0.125 * (expected[:-2, 1:-1] + expected[2:, 1:-1])
    )
    smoothed = 0.75 * smoothed + 0.125 * (
        0.75 * expected[1:-1, :-2] + 0.125 * (expected[:-2, :-2] + expected[2:, :-2])
        + 0.75 * expected[1:-1, 2:] + 0.125 * (expected[:-2, 2:] + expected[2:, 2:])
    )  # fmt: skip
    np.testing.assert_allclose(blocks[inner], smoothed, atol=1e-4)
    assert any("brought from 0.2 to 0.4 mm" in line for line in told)


def test_a_dicom_image_knows_its_pixel_size_and_says_at_which_it_was_predicted(
    tmp_path: Path, spaced: Package
) -> None:
    known = save_dx(tmp_path / "known.dcm", ImagerPixelSpacing=["0.2", "0.2"])
    _, told = bone_of(spaced, known, tmp_path / "out")
    written = dcmread(tmp_path / "out" / "known_bone.dcm")
    assert "computed at pixels of 0.4 mm" in written.DerivationDescription
    assert (written.Rows, written.Columns) == (24, 30)
    assert any("brought from 0.2 to 0.4 mm" in line for line in told)
    same = save_dx(tmp_path / "same.dcm", PixelSpacing=["0.4", "0.4"])
    _, told = bone_of(spaced, same, tmp_path / "out")
    assert not any("mm" in line for line in told)
    unknown = save_dx(tmp_path / "unknown.dcm")
    _, told = bone_of(spaced, unknown, tmp_path / "out")
    assert any("pixel size not known, so taken to be that of the training" in t for t in told)


def test_an_absurd_pixel_size_is_refused(tmp_path: Path, spaced: Package) -> None:
    absurd = save_dx(tmp_path / "absurd.dcm", PixelSpacing=["4000", "4000"])
    with pytest.raises(DataError, match="pixels of 4000 mm would become 300000 a side"):
        bone_of(spaced, absurd, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_for_presentation_is_warned_about(tmp_path: Path, workspace: Path) -> None:
    told: list[str] = []
    image = save_dx(tmp_path / "x.dcm", PresentationIntentType="FOR PRESENTATION")
    predict_image(MODEL, image, tmp_path / "out", workspace=workspace, tell=told.append)
    assert told[0].startswith("warning: x.dcm: processed for display (FOR PRESENTATION)")


def test_thickness_below_zero_is_told_and_kept(tmp_path: Path, workspace: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.normal(3, 0.8, (20, 20)))
    told: list[str] = []
    done = predict_image(
        MODEL, tmp_path / "x.npy", tmp_path / "out", workspace=workspace, tell=told.append
    )
    assert done.lowest["bone"] == pytest.approx(float(read_image(done.files[0]).min()))
    assert done.lowest["bone"] < 0
    assert any("bone: " in line and "below 0 cm, down to -" in line for line in told)
