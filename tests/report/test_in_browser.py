"""The page in a real browser: nothing is asked for, nothing complains, everything is drawn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dexsearch.report.page import render
from tests.browser import Page, chromium_or_skip
from tests.report import samples

pytestmark = pytest.mark.slow

IMAGES = "[...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.clientWidth])"
DASH = "\N{EN DASH}"
COLUMN = "[...document.querySelectorAll('#trial-table tbody tr')].map(r => r.cells[%d].innerText)"
CLICK = "document.querySelectorAll('#trial-table th button')[%d].click()"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Page(chromium_or_skip()) as tab:
        yield tab


@pytest.fixture(params=["text", samples.HOSTILE], ids=["plain", "hostile"])
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(render(samples.contents(request.param)), encoding="utf-8")
    return file


def test_the_page_asks_for_nothing_and_complains_of_nothing(page: Page, report: Path) -> None:
    page.open(report)
    page.evaluate("Promise.all([...document.images].map(i => i.decode())).then(() => 1)")
    assert page.complaints() == []
    assert page.requests() == [report.absolute().as_uri()]


def test_every_image_is_drawn_in_light_and_dark(page: Page, report: Path) -> None:
    for scheme in ("light", "dark"):
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=wanted)
        page.open(report)
        sizes = page.evaluate(IMAGES)
        assert len(sizes) == 7
        assert all(min(size) > 0 for size in sizes)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
        is_dark = "document.images[1].currentSrc === document.images[1].src"
        assert page.evaluate(is_dark) == (scheme == "light")
    page.call("Emulation.setEmulatedMedia", features=[])


def test_a_click_sorts_by_number_and_what_is_unknown_comes_last(page: Page, report: Path) -> None:
    page.open(report)
    assert page.evaluate(COLUMN % 3) == ["0.6100", DASH, "0.7000", "0.0950"]
    page.evaluate(CLICK % 3)
    assert page.evaluate(COLUMN % 3) == ["0.0950", "0.6100", "0.7000", DASH]
    page.evaluate(CLICK % 3)
    assert page.evaluate(COLUMN % 3) == ["0.7000", "0.6100", "0.0950", DASH]
    page.evaluate(CLICK % 0)
    assert page.evaluate(COLUMN % 0) == ["0", "1", "2", "3"]


def test_a_telephone_scrolls_down_and_never_sideways(page: Page, report: Path) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1,
        mobile=True,
    )  # fmt: skip
    page.open(report)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    names = "document.querySelector('table.pictures tbody th').clientWidth"
    assert page.evaluate(names) >= 90
    page.call("Emulation.clearDeviceMetricsOverride")


def test_print_is_on_white_paper(page: Page, report: Path) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.call("Emulation.setEmulatedMedia", media="print", features=dark)
    page.open(report)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert page.evaluate("document.images[1].currentSrc === document.images[1].src")
    page.call("Emulation.setEmulatedMedia", media="", features=[])


def test_what_slips_through_the_escaping_still_cannot_run(page: Page, tmp_path: Path) -> None:
    """The policy is the second lock: a script and a link put into the page do nothing."""
    planted = "<script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x.png'>"
    text = render(samples.contents()).replace("<main>", f"<main>{planted}")
    file = tmp_path / "planted.html"
    file.write_text(text, encoding="utf-8")
    page.open(file)
    assert page.evaluate("document.title") == "dexsearch report: text"
    assert len(page.complaints()) >= 2
