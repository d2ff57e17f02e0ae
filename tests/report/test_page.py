import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from dexsearch import DISCLAIMER
from dexsearch.report.contents import Pictures, ReportContents
from dexsearch.report.page import render
from tests.report import samples

VOID = {"meta", "link", "img", "source", "br", "wbr", "hr", "input"}
SECTIONS = (
    "verdict", "scores", "pictures", "curves", "budget", "importances", "slices", "audit",
    "trials", "limits", "provenance",
)  # fmt: skip


class Tree(HTMLParser):
    """Checks that tags are balanced, and keeps what a page has."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def empty() -> ReportContents:
    return replace(
        samples.contents(), scores=(), quality=(), curves=(), best=None, budget=(), slices=(),
        importances=(), trials=(), pictures=Pictures(), epochs_spent=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "report", [samples.contents(), samples.contents(samples.HOSTILE), empty()]
)
def test_tags_are_balanced_and_every_section_is_there_once(report: ReportContents) -> None:
    tree = Tree(render(report))
    assert [name for name in tree.ids if name in SECTIONS] == list(SECTIONS)
    assert len(set(tree.ids)) == len(tree.ids)
    links = [a["href"] for tag, a in tree.tags if tag == "a"]
    assert {str(link).removeprefix("#") for link in links} <= set(tree.ids)
    assert DISCLAIMER in tree.text


def test_nothing_outside_the_page_is_named() -> None:
    """Namespaces of the SVG images apart, no address stands anywhere; images are in the page."""
    page = render(samples.contents())
    assert re.findall(r"(?:https?:)?//[\w.]+", re.sub(r"data:[\w/+;,=]+", "", page)) == []
    for tag, attributes in Tree(page).tags:
        for name in ("src", "srcset", "href", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    for image in re.findall(r"data:image/svg\+xml;base64,([\w/+=]+)", page):
        svg = base64.b64decode(image).decode()
        links = re.findall(r"(?:href|src)=\"([^\"]*)\"", svg)
        assert all(link.startswith(("#", "data:")) for link in links)
        assert "<script" not in svg


def test_the_policy_allows_this_style_and_this_script_alone() -> None:
    page = render(samples.contents(samples.HOSTILE))
    (policy,) = [str(a["content"]) for t, a in Tree(page).tags if a.get("http-equiv")]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_hostile_texts_are_text() -> None:
    page = render(samples.contents(samples.HOSTILE))
    tree = Tree(page)
    assert page.count("<script") == 1
    assert "<img src=x" not in page
    for character in ("\x1b", "\u202e"):
        assert character not in page
    assert "</script><img src=x onerror=alert(1)>" in tree.text
    assert "\\x1b[2J\\u202e\N{SNOWMAN}" in tree.text


def test_what_is_missing_is_said() -> None:
    text = Tree(render(empty())).text
    for sentence in (
        "No trial is complete, so nothing has a final score yet.",
        "No epoch has been reported yet.",
        "No trial with searched parameters has been scored yet.",
        "No trial has begun yet.",
    ):
        assert sentence in text


def test_the_same_contents_give_the_same_bytes() -> None:
    assert render(samples.contents()) == render(samples.contents())


def test_plots_come_for_light_and_for_dark_paper() -> None:
    tree = Tree(render(samples.contents()))
    sources = [a for tag, a in tree.tags if tag == "source"]
    plots = [a for tag, a in tree.tags if tag == "img" and "svg" in str(a["src"])]
    assert len(sources) == len(plots) == 6
    assert {a["media"] for a in sources} == {"screen and (prefers-color-scheme: dark)"}
    assert all(a["srcset"] != b["src"] for a, b in zip(sources, plots, strict=True))
    assert all(a["alt"] for a in plots)
