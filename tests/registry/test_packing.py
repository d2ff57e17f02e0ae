"""Laws of who may be among the packages."""

from pathlib import Path

import pytest

from dexsearch.registry.packing import nobody_packing, packing_lock, while_packing


def is_free(workspace: Path, *, ask_only: bool) -> bool:
    with nobody_packing(workspace, ask_only=ask_only) as free:
        return free


def test_several_may_pack_and_none_of_them_beside_one_that_clears_up(tmp_path: Path) -> None:
    @while_packing
    def outer(workspace: Path, name: str) -> tuple[str, bool, bool]:
        return inner(workspace), is_free(workspace, ask_only=False), name == "given"

    @while_packing
    def inner(workspace: Path) -> str:
        return "both"

    workspace = tmp_path / "workspace"
    assert outer(workspace, name="given") == ("both", False, True)
    assert is_free(workspace, ask_only=False)


def test_the_lock_is_given_back_on_failure(tmp_path: Path) -> None:
    @while_packing
    def failing(workspace: Path) -> None:
        raise ValueError(workspace)

    with pytest.raises(ValueError, match=str(tmp_path)):
        failing(tmp_path)
    assert is_free(tmp_path, ask_only=True)


def test_asking_makes_no_file(tmp_path: Path) -> None:
    assert is_free(tmp_path, ask_only=True)
    assert not packing_lock(tmp_path).exists()
    assert is_free(tmp_path, ask_only=False)
    assert packing_lock(tmp_path).exists()
