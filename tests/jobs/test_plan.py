"""A search is planned from its file and flags, or refused before anything is written."""

from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from dexsearch.config.yaml_file import parse_space
from dexsearch.data.splits import split_subjects
from dexsearch.data.store import Sample, write_dataset
from dexsearch.errors import ConfigurationError, DataError, EnvironmentFault
from dexsearch.jobs.plan import plan_search
from dexsearch.jobs.refusals import refuse_unbuildable
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.search.site import Site


class Trained(Protocol):
    """What these tests need of the fixture."""

    workspace: Path


HEAD = "task: joint\ndata:\n  phantom: {subjects: 6, poses: 4, size_px: 64}\n"


def test_flags_beat_the_file(tmp_path: Path) -> None:
    plan = plan_search("joint.yaml", workspace=tmp_path, trials=4, epochs=3)
    assert (plan.space.trials, plan.space.epochs) == (4, 3)
    assert plan.space.pruner.min_epochs < 3
    assert plan.study == "joint"
    assert not list(tmp_path.iterdir()), "a plan writes nothing"


def test_one_epoch_cannot_be_pruned(tmp_path: Path) -> None:
    assert plan_search("joint.yaml", workspace=tmp_path, epochs=1).space.pruner.kind == "none"


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a b", "a/b", "\x1b[31m"])
def test_a_study_name_must_name_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a folder"):
        plan_search("joint.yaml", workspace=tmp_path, study=name)


def test_a_missing_dataset_is_named(tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text("task: bone\ndata: {path: datasets/ct}\n")
    with pytest.raises(DataError, match="datasets/ct"):
        plan_search(str(space), workspace=tmp_path / "workspace")


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("search: {generator.depth: {int: [2, 6]}}", "generator.depth=6"),
        ("fixed: {generator.depth: 7}", "generator.depth=7"),
        ("search: {discriminator.patch_px: {choice: [16, 286]}}", "discriminator.patch_px=286"),
        (
            "search:\n  loss.adversarial: {choice: [none, lsgan]}\n"
            "  discriminator.patch_px: {choice: [286, 16]}",
            "discriminator.patch_px=286",
        ),
    ],
)
def test_a_corner_that_cannot_be_built_is_refused(search: str, told: str) -> None:
    space = parse_space(HEAD + search, name="s.yaml")
    with pytest.raises(ConfigurationError, match=told):
        refuse_unbuildable(space, (64, 64))


def test_an_unused_discriminator_may_be_of_any_size() -> None:
    text = HEAD + "fixed: {loss.adversarial: none, discriminator.patch_px: 286}"
    refuse_unbuildable(parse_space(text, name="s.yaml"), (64, 64))


def test_every_shipped_space_can_be_built(tmp_path: Path) -> None:
    for name in ("quickstart", "bone", "tissue", "joint", "heads"):
        assert plan_search(name, workspace=tmp_path).space.trials > 0


FRESH = [
    "fixed: {exposure.resample: true}",
    "search: {exposure.resample: {choice: [false, true]}}",
    "search: {exposure.resample: {choice: [false, true]}}\nenqueue: [{exposure.resample: true}]",
]


@pytest.mark.parametrize("asked", FRESH)
def test_fresh_exposures_of_what_was_not_exposed_are_refused(trained: Trained, asked: str) -> None:
    """The dataset of `trained` was written without path lengths, as an import is."""
    space = trained.workspace / "mine.yaml"
    space.write_text(f"task: bone\ndata: {{path: datasets/small}}\n{asked}\n")
    with pytest.raises(ConfigurationError, match=r"exposure\.resample .*datasets/small") as caught:
        plan_search(str(space), workspace=trained.workspace)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("pixel_mm", "refused"), [(5.0, True), (2.0, False)])
def test_fresh_exposures_of_several_rays_a_pixel_need_their_edges(
    tmp_path: Path, pixel_mm: float, refused: bool
) -> None:
    """Datasets of older versions have no edges; with one ray a pixel there are none."""
    rng = np.random.default_rng(0)
    body = np.ones((32, 32), np.bool_)
    samples = [
        Sample(
            name, (0.0, 0.0, 0.0), *(rng.uniform(1, 2, (3, 32, 32)).astype(np.float32)), mask=body
        )
        for name in "abcd"
    ]
    write_dataset(
        tmp_path / "old", samples, split_subjects(tuple("abcd"), seed=0), kind="phantom",
        pixel_mm=pixel_mm, units={"input": "log", "bone": "cm", "tissue": "cm"},
        source={"exposure": asdict(Exposure()), "detector": asdict(Detector(32, pixel_mm))},
    )  # fmt: skip
    space = tmp_path / "mine.yaml"
    space.write_text(
        "task: bone\ndata: {path: old}\n"
        "fixed: {exposure.resample: true, generator.depth: 2, discriminator.patch_px: 16}\n"
    )
    if refused:
        with pytest.raises(ConfigurationError, match="older version; make it again"):
            plan_search(str(space), workspace=tmp_path)
    else:
        assert plan_search(str(space), workspace=tmp_path)


@pytest.mark.parametrize("asked", FRESH)
def test_fresh_exposures_of_xray_gans_recipe_are_refused_before_it_is_made(
    tmp_path: Path, asked: str
) -> None:
    space = tmp_path / "mine.yaml"
    head = "task: joint\ndata:\n  phantom: {subjects: 6, poses: 4, targets: xray-gan}\n"
    space.write_text(head + asked)
    with pytest.raises(ConfigurationError, match=r"exposure\.resample may be true"):
        plan_search(str(space), workspace=tmp_path)
    space.write_text(HEAD + asked)
    assert plan_search(str(space), workspace=tmp_path).made_on_start


@pytest.mark.parametrize("resample", ["{choice: [true, false]}", "{choice: [false]}"])
def test_a_jitter_that_some_trials_could_not_use_is_refused(tmp_path: Path, resample: str) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text(
        f"{HEAD}search:\n  exposure.resample: {resample}\n"
        "  exposure.dose_jitter: {float: [0, 0.5]}\n"
    )
    with pytest.raises(ConfigurationError, match=r"'exposure.resample: true' under 'fixed'"):
        plan_search(str(space), workspace=tmp_path)
    space.write_text(
        f"{HEAD}search:\n  exposure.kvp_jitter: {{choice: [0, 20]}}\n"
        "fixed: {exposure.resample: true}\n"
    )
    assert plan_search(str(space), workspace=tmp_path)


@pytest.mark.parametrize(
    "place", ["", "datasets/d", "datasets/d/sub/deep", "file://{here}/datasets/d/x", "datasets"]
)
def test_checkpoints_are_kept_out_of_the_dataset(tmp_path: Path, place: str) -> None:
    """An empty place would be the current folder; the study `d` in `datasets` is the dataset."""
    (tmp_path / "mine.yaml").write_text("task: bone\ndata: {path: datasets/d}\n")
    (tmp_path / "datasets" / "d").mkdir(parents=True)
    storage = place.format(here=tmp_path)
    if storage and not storage.startswith("file:"):
        storage = str(tmp_path / storage)
    with pytest.raises(ConfigurationError, match=r"--storage .*(in the dataset|is empty)"):
        plan_search(
            str(tmp_path / "mine.yaml"), workspace=tmp_path, study="d", site=Site(storage=storage)
        )


def test_a_kind_of_storage_that_is_not_known_is_told_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="mock:// is not one of s3://"):
        plan_search("none.yaml", workspace=tmp_path, site=Site("127.0.0.1:1", "mock://x/y"))


def test_a_storage_that_cannot_be_made_is_told_before_the_cluster_is_asked(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="--storage '/proc/nope/x'"):
        plan_search("quickstart", workspace=tmp_path, site=Site("127.0.0.1:1", "/proc/nope/x"))


def test_a_plan_leaves_nothing_in_its_storage(tmp_path: Path) -> None:
    storage = tmp_path / "shared" / "new"
    plan_search("quickstart", workspace=tmp_path / "w", site=Site(storage=str(storage)))
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_what_tells_whether_the_cluster_fits(tmp_path: Path) -> None:
    def told(site: Site) -> str | None:
        return plan_search("quickstart", workspace=tmp_path / "w", site=site).not_asked

    assert told(Site()) is None
    begin = "the cluster was not asked: dexsearch doctor --address auto"
    assert told(Site("auto")) == f"{begin} --workspace {tmp_path / 'w'}"
    assert told(Site("auto", str(tmp_path))) == f"{begin} --storage {tmp_path}"
