"""What is special to the compiled projector; what it computes: `test_projection`."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dexsearch.physics import fast_projection
from dexsearch.physics.geometry import Detector
from dexsearch.physics.projection import build_projector

DETECTOR = Detector(size_px=20, pixel_mm=2.0)
POSE = (10.0, -5.0, 40.0)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    volume = np.random.default_rng(0).uniform(size=(12, 14, 16)).astype(np.float32)
    projector = build_projector(volume, volume, voxel_mm=2.0, kind="fast")
    n_threads = torch.get_num_threads()
    views = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            views.append(projector.ray_lengths_cm(POSE, DETECTOR))
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_array_equal(views[0], views[1])
    np.testing.assert_array_equal(views[0], views[2])


def test_a_projector_can_be_sent_to_another_process() -> None:
    volume = np.ones((6, 6, 6), np.float32)
    projector = build_projector(volume, volume, voxel_mm=2.0, kind="fast")
    twin = pickle.loads(pickle.dumps(projector))
    np.testing.assert_array_equal(
        projector.ray_lengths_cm(POSE, DETECTOR), twin.ray_lengths_cm(POSE, DETECTOR)
    )


def test_code_is_compiled_for_this_run_only_where_no_folder_can_keep_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[dict[str, bool]] = []

    def njit(function: Callable[..., None], **options: bool) -> Callable[..., None]:
        calls.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(fast_projection.numba, "njit", njit)
    assert callable(fast_projection._compile(fast_projection._march))
    assert [options.get("cache", False) for options in calls] == [True, False]


@pytest.mark.slow
def test_a_projector_works_from_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    package = tmp_path / "site" / "dexsearch"
    source = Path(fast_projection.__file__).parents[1]
    for folder in ("", "physics", "physics/tables"):
        (package / folder).mkdir(parents=True)
        for file in (source / folder).glob("*.*"):
            (package / folder / file.name).write_bytes(file.read_bytes())
    # A file where the cache's folder would be: even root cannot write there.
    (package / "physics" / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    code = (
        "import numpy as np; from dexsearch.physics.geometry import Detector;"
        "from dexsearch.physics.projection import build_projector;"
        "v = np.ones((4, 4, 4), np.float32); p = build_projector(v, v, voxel_mm=1.0, kind='fast');"
        "print(p.ray_lengths_cm((0.0, 0.0, 0.0), Detector(2, 1.0))[0][0, 0])"
    )
    environment = {
        key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR",)
    } | {
        "PYTHONPATH": str(package.parent),
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == pytest.approx(0.4)


@pytest.mark.slow
def test_compiled_anew_or_from_the_cache_it_rounds_alike(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from dexsearch.physics.geometry import Detector;"
        "from dexsearch.physics.projection import build_projector;"
        "v = np.random.default_rng(0).random((20, 24, 28), np.float32);"
        "p = build_projector(v, v * v, voxel_mm=2.0, kind='fast');"
        "print(hash(p.ray_lengths_cm((5.0, 10.0, 20.0), Detector(16, 2.0))[0].tobytes()))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    told = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env=environment,
        )  # fmt: skip
        told.append(done.stdout)
        if len(told) == 2:  # the third run compiles the whole beside parts that are cached
            for file in tmp_path.rglob("*_march*"):
                file.unlink()
    assert len(set(told)) == 1
