from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from dexsearch import DISCLAIMER
from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.figures.canvas import display_window, shortened
from dexsearch.figures.comparison import Comparison, write_comparison
from dexsearch.figures.contact_sheet import SheetRow, write_contact_sheet
from dexsearch.figures.curve import write_learning_curve

IMAGE = np.linspace(0, 3, 24 * 16, dtype=np.float32).reshape(24, 16)
MASK = np.ones((24, 16), dtype=bool)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.text["Comment"] == DISCLAIMER  # type: ignore[attr-defined]
        return np.asarray(picture.convert("RGB"), dtype=int)


def row(prediction: np.ndarray) -> Comparison:
    return Comparison("subject-1 bone", "cm", 0.5, IMAGE, IMAGE, prediction, MASK)


def test_a_contact_sheet_is_grey_and_says_what_it_is_not_for(tmp_path: Path) -> None:
    rows = [SheetRow(name, "cm", [IMAGE, IMAGE + 1]) for name in ("input", "bone", "tissue")]
    path = write_contact_sheet(
        tmp_path / "new" / "sheet.png",
        rows,
        column_titles=["a", "b"],
        heading="two",
        masks=[MASK] * 2,
    )
    assert np.ptp(pixels(path), axis=2).max() == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]


def test_a_long_name_keeps_its_ends_and_a_short_one_all() -> None:
    assert shortened("phantom-0-0012") == "phantom-0-0012"
    assert shortened("cptac_pda_c3n00249_chest_ct_3mm") == "cptac_pda_…est_ct_3mm"


def test_every_row_of_a_sheet_has_every_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'bone' has 1 images for 2"):
        write_contact_sheet(
            tmp_path / "x.png",
            [SheetRow("bone", "cm", [IMAGE])],
            column_titles=["a", "b"],
            heading="",
        )


def test_a_prediction_that_is_too_high_is_red_and_one_too_low_blue(tmp_path: Path) -> None:
    high = pixels(write_comparison(tmp_path / "high.png", [row(IMAGE + 1)], heading="")).astype(
        int
    )
    low = pixels(write_comparison(tmp_path / "low.png", [row(IMAGE - 1)], heading="")).astype(int)
    # Both hold the same colour bar; the image itself tips the balance.
    assert (high[..., 0] - high[..., 2]).sum() > 0 > (low[..., 0] - low[..., 2]).sum()


def test_a_perfect_prediction_can_be_drawn(tmp_path: Path) -> None:
    assert write_comparison(tmp_path / "same.png", [row(IMAGE)], heading="").is_file()


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        write_comparison(tmp_path / "x.png", [], heading="")
    with pytest.raises(ValueError, match="no curve"):
        write_learning_curve(tmp_path / "x.png", {}, heading="")


def test_a_learning_curve_is_drawn_with_its_baselines(tmp_path: Path) -> None:
    path = write_learning_curve(
        tmp_path / "curve.png",
        {"bone": [0.5, 0.7], "tissue": []},
        heading="study, trial 3",
        baselines={"constant": 0.4},
    )
    assert pixels(path).shape[1] == 768


def test_a_picture_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(ConfigurationError, match=r"taken\.png' is a folder"):
        write_learning_curve(tmp_path / "taken.png", {"bone": [0.5]}, heading="")
    with pytest.raises(ConfigurationError, match=r"curve\.xyz' is no PNG"):
        write_learning_curve(tmp_path / "curve.xyz", {"bone": [0.5]}, heading="")
    with pytest.raises(EnvironmentFault, match="cannot write the picture"):
        write_learning_curve(Path("/proc/nowhere/curve.png"), {"bone": [0.5]}, heading="")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.png"]


def test_the_grey_scale_is_measured_inside_the_mask() -> None:
    image = np.array([[0.0, 1.0], [2.0, 1000.0]])
    low, high = display_window([image], [image < 3])
    assert (low, high) == pytest.approx((0.01, 1.99))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_flat_or_empty_image_still_has_a_grey_scale(value: float) -> None:
    low, high = display_window([np.full((3, 3), value)], [np.zeros((3, 3), dtype=bool)])
    assert low < high


def test_pictures_leave_no_global_figure_behind(tmp_path: Path) -> None:
    write_learning_curve(tmp_path / "curve.png", {"bone": [0.5]}, heading="")
    assert pyplot.get_fignums() == []
