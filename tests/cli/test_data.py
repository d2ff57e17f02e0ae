"""The `data` commands as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dexsearch.cli.data import data_app
from dexsearch.errors import ConfigurationError, DataError


def run(*arguments: object) -> None:
    data_app([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    y, x = np.mgrid[0:40, 0:36]
    body = (y - 20) ** 2 + (x - 18) ** 2 < 15**2
    for folder in ("single_energy", "bone", "soft"):
        (tmp_path / "src" / folder).mkdir(parents=True)
        for z in range(0, 180, 15):
            np.save(tmp_path / "src" / folder / f"m30_0_{z}.npy", body * (5 + np.sin(x + z)))
    return tmp_path / "src"


def test_import_info_and_show(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("import", source, tmp_path / "out", "--size", 32)
    captured = capsys.readouterr()
    assert "import dataset" in captured.out
    assert "next: dexsearch data show" in captured.err
    assert "next:" not in captured.out

    run("info", tmp_path / "out", "--format", "json")
    info = json.loads(capsys.readouterr().out)
    assert {"images", "subjects", "split", "digest", "baselines"} <= set(info)
    assert "leaks less, not nothing" in info["split"]["warning"]
    assert set(info["baselines"]["nearest_pose"]) == {"bone", "tissue"}

    run("show", tmp_path / "out", "--out", tmp_path / "sheet.png", "--images", 3)
    assert capsys.readouterr().out.strip() == str(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()


def test_a_folder_can_be_named_by_a_flag(source: Path, tmp_path: Path) -> None:
    (source / "soft").rename(source / "without_bones")
    with pytest.raises(DataError, match="folder of tissue images") as hit:
        run("import", source, tmp_path / "out", "--size", 32)
    assert hit.value.hint == "name it with --tissue-dir"
    run("import", source, tmp_path / "out", "--size", 32, "--tissue-dir", "without_bones")
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.slow
def test_a_phantom_cohort_is_made_described_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = tmp_path / "cohort"
    run("phantom", cohort, "--subjects", 3, "--poses", 2, "--size", 32, "--format", "json")
    made = json.loads(capsys.readouterr().out)
    assert (made["images"], made["subjects"], made["kind"]) == (6, 3, "phantom")
    run("phantom", cohort, "--subjects", 3, "--poses", 2, "--size", 32)
    with pytest.raises(DataError, match="already holds a dataset"):
        run("phantom", cohort, "--subjects", 3, "--poses", 2, "--size", 32, "--kvp", 80)
    run("show", cohort)
    assert cohort.with_name("cohort.png").is_file()


def test_check_says_what_is_wrong_and_leaves_with_7(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("import", source, tmp_path / "out", "--size", 32)
    run("check", tmp_path / "out")
    assert "every byte is what was written" in capsys.readouterr().out
    (tmp_path / "out" / "holdout" / "mask.npy").unlink()
    assert data_app(["check", str(tmp_path / "out")], standalone_mode=False) == 7
    assert "holdout/mask.npy" in capsys.readouterr().out


def test_info_writes_the_split_for_the_next_dataset(source: Path, tmp_path: Path) -> None:
    run("import", source, tmp_path / "out", "--size", 32)
    run("info", tmp_path / "out", "--write-split", tmp_path / "split.json")
    run(
        "import", source, tmp_path / "again", "--size", 32, "--split-file", tmp_path / "split.json"
    )
    first, again = (
        json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("out", "again")
    )
    assert again["images"] == first["images"]
    assert again["split_rule"].startswith("from file split.json")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--poses", "many"], "--poses: "),
        (["--pair", "120,60"], "--pair '120,60'"),
        (["--scatter", "much"], "--scatter 'much'"),
        (["--filter", "gold=1"], "--filter 'gold=1'"),
        (["--filter", "cu=0.1", "--filter", "cu=0.2"], "--filter cu twice"),
        (["--kvp", "40"], "--kvp: got 40.0"),
        (["--subjects", "2"], "at least 3"),
    ],
)
def test_flags_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: Path, flags: list[str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run("phantom", tmp_path / "out", *flags)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_weights_are_found_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("phantom", tmp_path / "cohort", "--subjects", 3, "--poses", 4, "--size", 64)
    capsys.readouterr()
    picture = tmp_path / "weights.png"
    run("weights", tmp_path / "cohort", "--out", picture, "--format", "json")
    found = json.loads(capsys.readouterr().out)
    assert found["found"]["bone_cancelling"] == pytest.approx(
        found["computed"]["bone_cancelling"], abs=0.03
    )
    assert picture.is_file()


@pytest.mark.slow
def test_a_real_ct_becomes_a_dataset(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chest = shared_data / "ct" / "cptac_pda_c3n00249_chest_ct_3mm.nii.gz"
    run("ct", chest, tmp_path / "ct", "--poses", 12, "--size", 32)
    run("info", tmp_path / "ct")
    assert "leaks less, not nothing" in capsys.readouterr().out


def test_the_commands_load_no_heavy_library_until_they_run() -> None:
    code = (
        "import sys, dexsearch.cli.data; "
        "print([n for n in ('torch', 'numpy', 'matplotlib', 'pydantic') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
