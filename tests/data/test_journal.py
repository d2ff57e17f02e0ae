from pathlib import Path

import pytest

from dexsearch.data.journal import Journal, JournalEntry
from dexsearch.data.manifest import PathLengths
from dexsearch.data.samples import Layout
from dexsearch.data.store import ImageInfo, Tumour

LAYOUT = Layout((24, 32), {"input": "float32", "mask": "bool"}, PathLengths("tissue", "bone"))
TUMOUR = Tumour((1.0, 2.0, 3.5), 8.0, 4.25, 9.0)
BATCHES = (
    (JournalEntry(ImageInfo("a", (0.0, 15.0, -30.0), "x.png", TUMOUR), "train"),),
    (),
    (
        JournalEntry(ImageInfo("b", (0.0, 0.0, 5.0)), "guard_band"),
        JournalEntry(ImageInfo("b", (0.0, 0.0, 10.0)), "holdout"),
    ),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Journal(tmp_path / "journal") as journal:
        journal.write_layout(LAYOUT)
        for batch in BATCHES:
            journal.write_batch(batch)
    return tmp_path / "journal"


def test_a_new_journal_says_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        assert journal.contents.layout is None
        assert journal.contents.batches == ()


def test_a_journal_is_read_as_it_was_written(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.contents.layout == LAYOUT
        assert journal.contents.batches == BATCHES
        assert journal.contents.entries == BATCHES[0] + BATCHES[2]


def test_wherever_the_last_line_is_torn_it_is_cut_off(path: Path) -> None:
    content = path.read_bytes()
    whole = content[: content[:-1].rfind(b"\n") + 1]
    for size in range(len(whole), len(content)):
        path.write_bytes(content[:size])
        with Journal(path) as journal:
            assert journal.contents.batches == BATCHES[:-1]
        assert path.read_bytes() == whole


def test_after_a_torn_line_the_journal_goes_on(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with Journal(path) as journal:
        journal.write_batch(BATCHES[-1])
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"\0\0\n", b"7\n", b'[{"subject": "a"}]\n', b"{}\n"])
def test_a_line_that_is_no_batch_ends_the_journal(path: Path, line: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content + line)
    with Journal(path) as journal:
        assert journal.contents.batches == BATCHES
    assert path.read_bytes() == content
