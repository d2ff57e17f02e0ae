"""A disk that is full while a package is written: an error of one line, and nothing half."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dexsearch.errors import EnvironmentFault
from dexsearch.inference.card import GeneratorCard
from dexsearch.inference.package import Package, open_package, write_package

CARD = GeneratorCard(
    task="bone", targets=("bone",), trial_config={}, normalization={}, units={}, study="ribs",
    trial=0, params={}, objective="val_ssim", epochs=1, n_parameters=1, dataset="d" * 64,
    size_px=(32, 32), pixel_mm=None, metric=1, scores={"val_ssim": 0.5}, baselines={},
    libraries={},
)  # fmt: skip


def draw(folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1.png").write_bytes(b"png")


def make(path: Path) -> Package:
    return write_package(path, weights=b"weights", card=CARD, curve=[], draw=draw)


@contextmanager
def full_from(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Let the `step`-th operation that needs space fail, and all after it."""
    count = 0

    def limited(name: str, owner: object) -> None:
        real = getattr(owner, name)

        def operation(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count >= step:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        patch.setattr(owner, name, operation)

    with monkeypatch.context() as patch:
        for name, owner in (
            ("write_bytes", Path), ("write_text", Path), ("mkdir", Path), ("rename", Path),
            ("fsync", os),
        ):  # fmt: skip
            limited(name, owner)
        yield lambda: count


def test_wherever_the_disk_fills_up_nothing_is_left_and_the_same_call_works_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_from(1_000, monkeypatch) as counted:
        whole = make(tmp_path / "reference")
        n_steps = counted()
    assert n_steps >= 12
    for step in range(1, n_steps + 1):
        folder = tmp_path / f"full-at-{step}" / "generator"
        folder.parent.mkdir()
        with (
            full_from(step, monkeypatch),
            pytest.raises(EnvironmentFault, match="No space left on device") as caught,
        ):
            make(folder)
        assert "same command" in str(caught.value.hint)
        assert list(folder.parent.iterdir()) == []
        assert make(folder).sha256 == whole.sha256
        assert open_package(folder).files == whole.files


def test_a_picture_that_finds_the_disk_full_is_told_in_the_same_words(tmp_path: Path) -> None:
    def draw_on_a_full_disk(folder: Path) -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            raise EnvironmentFault("cannot write the picture", hint="check") from None

    with pytest.raises(EnvironmentFault, match=r"package .* No space left") as caught:
        write_package(tmp_path / "g", weights=b"w", card=CARD, curve=[], draw=draw_on_a_full_disk)
    assert "same command" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_another_kind_stays_what_it_is(tmp_path: Path) -> None:
    def draw_without_a_library(folder: Path) -> None:
        raise EnvironmentFault("mlflow is not installed", hint="pip install it")

    with pytest.raises(EnvironmentFault, match="mlflow is not installed"):
        write_package(
            tmp_path / "g", weights=b"w", card=CARD, curve=[], draw=draw_without_a_library
        )


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(EnvironmentFault, match="Permission denied"):
        make(tmp_path / "generator")
