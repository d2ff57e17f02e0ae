"""The plot of dual-energy weights is written whole, or refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dexsearch import DISCLAIMER
from dexsearch.figures.weights_plot import WeightCurve, write_weights_plot

MASK = np.ones((16, 16), dtype=np.bool_)
IMAGES = [np.random.default_rng(k).normal(size=(16, 16)) for k in range(3)]
CURVE = WeightCurve(
    name="bone in the soft image",
    contrast_per_cm=(0.1, 0.0, -0.1),
    found=0.6,
    computed=0.61,
    image_name="soft image",
    images=IMAGES,
    image_weights=(0.5, 0.6, 0.7),
)


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    path = write_weights_plot(
        tmp_path / "new" / "weights.png", (0.5, 0.6, 0.7), (CURVE, CURVE), mask=MASK, heading="a"
    )
    with Image.open(path) as picture:
        assert picture.text["Comment"] == DISCLAIMER  # type: ignore[attr-defined]
    assert [file.name for file in path.parent.iterdir()] == ["weights.png"]


def test_a_curve_of_another_length_is_refused(tmp_path: Path) -> None:
    short = replace(CURVE, contrast_per_cm=(0.1,))
    with pytest.raises(ValueError, match="1 contrasts for 3 weights"):
        write_weights_plot(
            tmp_path / "w.png", (0.5, 0.6, 0.7), (CURVE, short), mask=MASK, heading="a"
        )
    with pytest.raises(ValueError, match="no curves"):
        write_weights_plot(tmp_path / "w.png", (0.5,), (), mask=MASK, heading="a")
    assert not list(tmp_path.iterdir())
