from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dexsearch.figures.regressions import Regression, write_regressions


def row(label: str = "subject\nbone", *, error: float = 0.3) -> Regression:
    truth = np.random.default_rng(0).random((24, 32), dtype=np.float32)
    return Regression(
        label=label, unit="cm", ssim_a=0.5, ssim_b=0.7, input=truth, truth=truth,
        a=truth + error, b=truth, mask=np.ones(truth.shape, dtype=bool),
    )  # fmt: skip


def test_a_gallery_shows_what_differs(tmp_path: Path) -> None:
    pictures = []
    for error in (0.3, -0.3):
        path = write_regressions(tmp_path / "gallery.png", [row(error=error)], heading="h")
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB")).astype(int))
    red, blue = ((p[..., 0] - p[..., 2]).sum() for p in pictures)
    assert red > 0 > blue  # too high is red, too low is blue


def test_a_name_with_dollars_is_a_name(tmp_path: Path) -> None:
    path = write_regressions(tmp_path / "gallery.png", [row("$\\frac$")], heading="$x^$")
    assert path.stat().st_size > 1000


def test_nothing_to_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        write_regressions(tmp_path / "gallery.png", [], heading="h")
