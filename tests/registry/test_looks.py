import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.ledger.log import read_events
from dexsearch.registry import looks
from dexsearch.registry.looks import Candidate, LookResult, look_at_holdout
from dexsearch.registry.record import LOG_NAME, read_registry

sys.path.insert(0, str(Path(__file__).parent / "support"))
from hold_out import HoldOut, make_hold_out


@pytest.fixture
def own(tmp_path: Path) -> HoldOut:
    return make_hold_out(tmp_path / "workspace", 8, n_poses=1)


def look(
    own: HoldOut, *, qualities: tuple[float, float] = (1.0, 0.4), task: str = "bone"
) -> LookResult:
    a, b = (own.package(quality, task=task, trial=i) for i, quality in enumerate(qualities))
    return look_at_holdout(
        own.workspace, Candidate("first", a), Candidate("second", b), own.dataset,
        target=None, margin=0.005, purpose="compare", progress=lambda done, total: None,
    )  # fmt: skip


def kinds(own: HoldOut) -> list[str]:
    return [event["event"] for event in read_events(own.workspace / LOG_NAME)]


def test_a_look_is_written_before_the_holdout_is_opened_and_its_evidence_after(
    own: HoldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[list[str]] = []
    real = looks.compare_packages

    def watched(*args: object, **more: object) -> object:
        known.append(kinds(own))
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(looks, "compare_packages", watched)
    look(own)
    assert known == [["look"]]
    assert kinds(own) == ["look", "evidence"]


def test_looks_are_counted_for_each_holdout(own: HoldOut) -> None:
    assert look(own).n_looks == 1
    text = str(look(own))
    assert "look 2 at this hold-out" in text
    assert "4.9 %" in text  # 1 - 0.975 ** 2
    registry = read_registry(own.workspace)
    assert [e.look for e in registry.evidence] == [found.look for found in registry.looks]
    assert len({found.look for found in registry.looks}) == 2


def test_an_interrupted_look_stays_counted_and_leaves_nothing_half_written(
    own: HoldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(looks, "write_regressions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        look(own)
    assert kinds(own) == ["look"]
    assert list((own.workspace / "evidence").iterdir()) == []
    monkeypatch.undo()
    assert look(own).n_looks == 2


def test_a_holdout_that_is_not_there_costs_no_look(own: HoldOut) -> None:
    (own.dataset.path / "holdout" / "mask.npy").unlink()
    with pytest.raises(DataError):
        look(own)
    assert not (own.workspace / LOG_NAME).exists()


def test_the_evidence_is_three_files(own: HoldOut) -> None:
    found = look(own, qualities=(0.4, 1.0))
    names = {path.name for path in found.folder.iterdir()}
    assert names == {"result.json", "scores.csv", "gallery.png"}
    stored = json.loads((found.folder / "result.json").read_text())
    assert stored == json.loads(json.dumps(found.as_json()))
    assert stored == read_registry(own.workspace).evidence[0].result
    assert (stored["verdict"], stored["n_subjects"], stored["margin"]) == ("worse", 8, 0.005)
    with Image.open(found.folder / "gallery.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10


def test_the_table_of_scores_leads_to_the_result(own: HoldOut) -> None:
    found = look(own, task="joint")
    rows = list(csv.DictReader((found.folder / "scores.csv").read_text().splitlines()))
    assert [row["subject"] for row in rows] == [
        info.subject for info in own.dataset.manifest.images["holdout"]
    ]
    assert rows[0]["pose"] == "0 0 0"
    differences = [float(row["score_a"]) - float(row["score_b"]) for row in rows]
    assert [float(row["difference"]) for row in rows] == pytest.approx(differences, abs=2e-6)
    assert found.comparison.result.difference == pytest.approx(np.mean(differences), abs=2e-6)
    both = [(float(row["a_bone"]) + float(row["a_tissue"])) / 2 for row in rows]
    assert [float(row["score_a"]) for row in rows] == pytest.approx(both, abs=2e-6)


def test_a_disk_that_refuses_is_told_and_the_look_counted(own: HoldOut) -> None:
    (own.workspace / "evidence").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="the evidence cannot be written"):
        look(own)
    assert kinds(own) == ["look"]
