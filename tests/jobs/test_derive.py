"""A head whose tissue is computed, from the plan of a search to a predicted image."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
import torch
from PIL import Image

from dexsearch.config.trial import trial_config
from dexsearch.data.pairs import load_training_data
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.images.reading import read_image
from dexsearch.inference.package import open_package
from dexsearch.jobs.best import Choice, leaderboard
from dexsearch.jobs.plan import plan_search
from dexsearch.jobs.predict import predict_image
from dexsearch.jobs.register import register_study
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME, read_study
from dexsearch.physics.detector import log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.registry.record import Registration
from dexsearch.training.loop import train

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset

CPU = torch.device("cpu")
MODEL = "dexsearch-joint"


class Trained(Protocol):
    """What these tests need of the fixture."""

    workspace: Path
    dataset: "Dataset"


def run_trial(log: EventLog, folder: Path, dataset: "Dataset", number: int, task: str) -> None:
    params = {"task": task}
    config = trial_config(
        {"generator.depth": 2, "generator.width": 4, "discriminator.patch_px": 16,
         "discriminator.width": 4, "batch_size": 2, **params}
    )  # fmt: skip
    log.append(
        {"event": "trial_started", "trial": number, "params": params, "immune": False,
         "config": config.model_dump(mode="json"), "enqueued": False}
    )  # fmt: skip
    data = load_training_data(dataset, config.task, CPU)
    checkpoints = folder / "trials" / str(number)
    for record in train(config, data, epochs=1, device=CPU, checkpoints=checkpoints):
        log.append({"event": "epoch", "trial": number, "record": record.as_dict()})
    log.append(
        {"event": "trial_ended", "trial": number, "state": "complete", "reason": None,
         "kind": None, "checkpoint": f"trials/{number}/00001"}
    )  # fmt: skip


@pytest.fixture(scope="module")
def workspace(exposed_cohort: "Dataset", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a derived and a joint head, both registered."""
    root = tmp_path_factory.mktemp("derived")
    folder = root / "studies" / "heads"
    with EventLog(folder / LEDGER_NAME) as log:
        log.append(
            {"event": "study", "study": "heads", "task": "joint", "metric": 1,
             "space": {"objective": "val_ssim_bone", "trials": 2}, "size_px": [32, 32],
             "dataset": str(exposed_cohort.path),
             "dataset_digest": exposed_cohort.manifest.digest}
        )  # fmt: skip
        for number, task in enumerate(("derive", "joint")):
            run_trial(log, folder, exposed_cohort, number, task)
    told: list[str] = []
    register_study(root, read_study(folder), exposed_cohort, n=2, tell=told.append)
    assert told == []
    return root


def derived(workspace: Path) -> Registration:
    (group,) = leaderboard(workspace).groups
    return next(row.generator for row in group.rows if row.generator.params["task"] == "derive")


def test_a_derived_head_is_ranked_among_the_joint_ones(workspace: Path) -> None:
    (group,) = leaderboard(workspace, Choice(task="joint")).groups
    assert {row.generator.name for row in group.rows} == {MODEL}
    assert {row.generator.params["task"] for row in group.rows} == {"derive", "joint"}
    assert all(row.generator.val_ssim_tissue is not None for row in group.rows)


def test_the_card_says_derive_and_stores_the_inversion(
    workspace: Path, exposed_cohort: "Dataset"
) -> None:
    (group,) = leaderboard(workspace).groups
    cards = [open_package(workspace / row.generator.package).card for row in group.rows]
    by_head = {card.head: card for card in cards}
    assert {card.task for card in cards} == {"joint"}
    assert by_head["joint"].inversion is None
    inversion = by_head["derive"].inversion
    assert inversion is not None
    assert inversion["kvp"] == exposed_cohort.manifest.source["exposure"]["kvp"]
    assert by_head["derive"].n_parameters < by_head["joint"].n_parameters
    assert by_head["derive"].targets == by_head["joint"].targets


def test_the_predicted_images_of_a_new_exposure_make_it_again(
    workspace: Path, exposed_cohort: "Dataset", tmp_path: Path
) -> None:
    image = np.array(exposed_cohort.arrays("validation").input[0])
    np.save(tmp_path / "chest.npy", image)
    told: list[str] = []
    version = f"{MODEL}/{derived(workspace).version}"
    done = predict_image(
        version, tmp_path / "chest.npy", tmp_path / "out", workspace=workspace, tell=told.append
    )
    assert "taken as -ln(I / I0) of an exposure at 120 kVp without scatter" in told[0]
    bone, tissue = (
        torch.from_numpy(read_image(file)) for file in done.files if file.suffix == ".npy"
    )
    again = log_projections(
        tissue.clamp_min(0.0)[None], bone.clamp_min(0.0)[None], Exposure(),
        detector=Detector(size_px=32, pixel_mm=1.0), rays_per_pixel=1, rng=None,
    )[0]  # fmt: skip
    possible = (tissue >= 0) & (bone >= 0)
    assert int(possible.sum()) > 100
    assert float((again - torch.from_numpy(image))[possible].abs().max()) < 2e-4


def test_grey_levels_are_refused_because_tissue_is_computed_from_the_exposure(
    workspace: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(tmp_path / "chest.png")
    version = f"{MODEL}/{derived(workspace).version}"
    with pytest.raises(DataError, match=r"grey levels have no unit.* 120 kVp") as caught:
        predict_image(
            version, tmp_path / "chest.png", tmp_path / "out", workspace=workspace, tell=print
        )
    assert ".npy" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


ASKED = [
    "task: derive\n",
    "task: joint\nobjective: val_ssim_bone\nsearch: {task: {choice: [bone, derive]}}\n",
]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    ("phantom", "told"),
    [
        ("targets: xray-gan", "no simulated exposures"),
        ("targets: wls", "no thicknesses in cm"),
        ("scatter: 0.5", "scatter_to_primary=0.5"),
    ],
)
def test_a_plan_refuses_what_tissue_cannot_be_computed_from_before_it_is_made(
    tmp_path: Path, asked: str, phantom: str, told: str
) -> None:
    space = tmp_path / "mine.yaml"
    data = "data:\n  phantom: {{subjects: 6, poses: 4, {}}}\n"
    space.write_text(asked + data.format(phantom))
    with pytest.raises(ConfigurationError, match=f"dataset .*: task 'derive' .*{told}") as caught:
        plan_search(str(space), workspace=tmp_path)
    assert caught.value.exit_code == 3
    space.write_text(asked + data.format("kvp: 80"))
    assert plan_search(str(space), workspace=tmp_path).made_on_start


@pytest.mark.parametrize("asked", ASKED)
def test_a_plan_looks_at_the_dataset_that_is_there(
    tmp_path: Path, exposed_cohort: "Dataset", asked: str
) -> None:
    space = tmp_path / "mine.yaml"
    fixed = "fixed: {generator.depth: 3, discriminator.patch_px: 16}\n"
    space.write_text(f"{asked}data: {{path: {exposed_cohort.path}}}\n{fixed}")
    assert not plan_search(str(space), workspace=tmp_path).made_on_start


def test_a_plan_refuses_a_dataset_whose_exposure_is_not_known(
    trained: Trained, tmp_path: Path
) -> None:
    space = tmp_path / "mine.yaml"
    fixed = "fixed: {generator.depth: 3, discriminator.patch_px: 16}\n"
    space.write_text(f"task: derive\ndata: {{path: {trained.dataset.path}}}\n{fixed}")
    with pytest.raises(ConfigurationError, match=r"datasets/small.*no simulated exposures"):
        plan_search(str(space), workspace=trained.workspace)
