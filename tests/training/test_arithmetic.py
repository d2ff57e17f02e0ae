"""What a run was computed with is in its checkpoints."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dexsearch.config.trial import TrialConfig, trial_config
from dexsearch.data.pairs import TrainingData
from dexsearch.training import loop
from dexsearch.training.arithmetic import Arithmetic, arithmetic_here
from dexsearch.training.checkpoint import RunState, newest_valid_checkpoint
from dexsearch.training.precision import Precision
from dexsearch.training.training_run import TrainingRun

CPU = torch.device("cpu")
FLOAT32 = Precision("cpu", torch.float32)
CONFIG: TrialConfig = trial_config(
    {"generator.depth": 2, "generator.width": 4, "loss.adversarial": "none", "batch_size": 8}
)


def train(data: TrainingData, folder: Path, epochs: int, **more: object) -> RunState:
    """Train to an epoch, continuing in the folder; return what the newest checkpoint says."""
    records: Iterator[object] = loop.train(
        CONFIG, data, epochs=epochs, device=CPU, checkpoints=folder, **more
    )  # type: ignore[arg-type]
    list(records)
    checkpoint = newest_valid_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint.state


def test_a_checkpoint_says_what_its_run_was_computed_with(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    (found,) = train(joint_data, tmp_path, 1, precision=FLOAT32).trained_with
    assert found == arithmetic_here(CPU, FLOAT32)
    assert (found.device, found.precision, found.torch) == ("cpu", "float32", torch.__version__)
    assert found.threads == torch.get_num_threads()
    assert Arithmetic.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_continued_in_the_same_way_it_is_told_once_and_in_another_way_both_are(
    joint_data: TrainingData, tmp_path: Path
) -> None:
    train(joint_data, tmp_path, 1, precision=FLOAT32)
    assert len(train(joint_data, tmp_path, 2, precision=FLOAT32).trained_with) == 1
    other = Precision("cpu", torch.bfloat16)
    found = train(joint_data, tmp_path, 3, precision=other).trained_with
    assert [one.precision for one in found] == ["float32", "bfloat16"]


def test_what_an_old_checkpoint_does_not_say_stays_unknown(
    joint_data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingRun, "state", _without(TrainingRun.state))
    assert train(joint_data, tmp_path, 1).trained_with == ()
    monkeypatch.undo()
    assert train(joint_data, tmp_path, 2).trained_with == ()
    values = train(joint_data, tmp_path, 2).as_dict()
    del values["trained_with"]
    assert RunState.from_dict(values).trained_with == ()


@pytest.mark.parametrize(
    "changes", [{"threads": "2"}, {"threads": True}, {"precision": 32}, {"torch": None}]
)
def test_values_of_another_type_are_refused(changes: dict[str, object]) -> None:
    values = {**arithmetic_here(CPU, FLOAT32).as_dict(), **changes}
    with pytest.raises(ValueError, match=f"'{next(iter(changes))}' cannot be"):
        Arithmetic.from_dict(values)
    with pytest.raises(ValueError, match="cannot be None"):
        Arithmetic.from_dict({})


def _without(state):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return lambda run: replace(state(run), trained_with=())
