import json
import math
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "search" / "support"))

from invented_tables import EPOCHS, table_with
from searching import run_in_process

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.jobs.simulate import SimulationRequest, simulate
from dexsearch.jobs.simulation import Simulation
from dexsearch.search.curves import CurveTable, write_table
from dexsearch.search.replays import median, median_interval, median_ratio_interval


def run(tmp_path: Path, table: CurveTable | None = None, **request: object) -> Simulation:
    path = tmp_path / "table.jsonl"
    write_table(table or table_with(16), path)
    asked = SimulationRequest(**{"seeds": 3, "jobs": 1, **request})  # type: ignore[arg-type]
    return simulate(
        str(path), asked, workspace=tmp_path, progress=lambda unit: nullcontext(lambda a, b: None)
    )


def test_the_yardstick_comes_first_and_each_pair_once(tmp_path: Path) -> None:
    found = run(tmp_path, pruners=("none", "median:min_epochs=2"), samplers=("random", "tpe"))
    assert [pair.name for pair in found.pairs] == [
        "random / none",
        "random / median(min_epochs=2, immune_every=4)",
        "tpe / none",
        "tpe / median(min_epochs=2, immune_every=4)",
    ]
    assert found.pairs[0].epochs_all == 16 * EPOCHS
    assert found.pairs[0].never_rate == 0


def test_json_has_null_for_never(tmp_path: Path) -> None:
    found = run(
        tmp_path, table_with(40, crossing=True), samplers=("random",),
        pruners=("successive_halving:min_epochs=3,immune_every=0",),
    )  # fmt: skip
    assert math.isinf(found.pairs[1].epochs_to_best)
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["pairs"][1]["epochs_to_best"] is None
    assert "never" in str(found)


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    found = run(tmp_path, samplers=("random",), out=tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
    assert found.plot == str(tmp_path / "plot.png")


def test_the_bias_of_survivors_is_told(tmp_path: Path) -> None:
    pruned = replace(table_with(16), counts={"complete": 16, "pruned": 9})
    assert "survivor bias: 9 pruned" in str(run(tmp_path, pruned, samplers=("random",)))
    assert run(tmp_path, samplers=("random",)).warning is None


def test_a_study_is_replayed_by_its_name(tmp_path: Path) -> None:
    run_in_process(tmp_path / "studies" / "s", "rising", pruner={"kind": "none"}, trials=9)
    found = simulate(
        "s", SimulationRequest(samplers=("random",), seeds=2, jobs=1), workspace=tmp_path,
        progress=lambda unit: nullcontext(lambda a, b: None),
    )  # fmt: skip
    assert found.n_curves == 9


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"samplers": ("best",)}, "--sampler 'best'"),
        ({"pruners": ("brutal",)}, "--pruner 'brutal'"),
        ({"pruners": ("median:min_epochs",)}, "is not KEY=VALUE"),
        ({"pruners": ("median:min_epochs=99",)}, "never lets a trial be pruned"),
        (
            {"pruners": ("median:min_epoch=3",)},
            "no setting 'min_epoch'.*did you mean 'min_epochs'",
        ),
        (
            {"pruners": ("median:reduction=3",)},
            "median has no setting 'reduction'; it has min_epo",
        ),
        ({"pruners": ("none:kind=median",)}, "none has no setting 'kind'; it has none"),
        (
            {"pruners": ("hyperband:reduction=1",)},
            "--pruner 'hyperband:reduction=1': reduction: got",
        ),
        ({"objective": "val_ssim_bone"}, "is not recorded"),
    ],
)
def test_what_is_not_known_is_refused(
    tmp_path: Path, request_: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        run(tmp_path, **request_)


def test_pairs_that_differ_in_immune_trials_only_are_both_replayed(tmp_path: Path) -> None:
    found = run(
        tmp_path, table_with(32), samplers=("random",), seeds=6,
        pruners=tuple(f"successive_halving:immune_every={n}" for n in (0, 2, 8, 0)),
    )  # fmt: skip
    assert [pair.name.partition(" / ")[2] for pair in found.pairs] == [
        "none",
        "successive_halving(min_epochs=3, reduction=4, immune_every=0)",
        "successive_halving(min_epochs=3, reduction=4, immune_every=2)",
        "successive_halving(min_epochs=3, reduction=4)",
    ]
    none, half, few = (pair.epochs_all for pair in found.pairs[1:])
    assert none < few < half


def test_settings_that_a_pruner_passes_over_make_no_pair_of_their_own(tmp_path: Path) -> None:
    table = table_with(16, pruner={"kind": "none", "min_epochs": 5, "percentile": 20})
    names = [pair.name for pair in run(tmp_path, table).pairs]
    assert names[:3] == ["random / none", "qmc / none", "tpe / none"]
    assert len(names) == len(set(names)) == 6


def test_curves_of_one_epoch_are_replayed_without_pruners(tmp_path: Path) -> None:
    table = table_with(16, epochs=1, pruner={"kind": "none"})
    rows = tuple(replace(row, curves={"val_ssim": (row.curves["val_ssim"][-1],)})
                 for row in table.rows)  # fmt: skip
    single = replace(table, epochs=1, rows=rows)
    names = [pair.name for pair in run(tmp_path, single).pairs]
    assert names == ["random / none", "qmc / none", "tpe / none"]
    with pytest.raises(ConfigurationError, match="--pruner 'median': min_epochs=1 never lets"):
        run(tmp_path, single, pruners=("median",))


def test_a_sampler_that_cannot_search_the_space_is_refused_by_its_flag(tmp_path: Path) -> None:
    table = table_with(16, search={"generator.depth": {"int": [2, 4]}})
    rows = tuple(replace(row, params={"generator.depth": row.params["generator.depth"]})
                 for row in table.rows)  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"--sampler 'cmaes': .*needs two"):
        run(tmp_path, replace(table, rows=rows), samplers=("cmaes",))


def test_a_study_whose_objective_is_not_recorded_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="objective 'val_ssim_bone' is not recorded") as caught:
        run(tmp_path, table_with(16, objective="val_ssim_bone"))
    assert "--objective" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "it is a folder"),
        ("missing/plot.png", "there is no folder"),
        ("plot.svg", "does not end in .png"),
    ],
)
def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, name: str, said: str
) -> None:
    request = SimulationRequest(out=tmp_path / name)
    with pytest.raises(ConfigurationError, match=f"the plot cannot be written to .*{said}"):
        simulate("no such study", request, workspace=tmp_path, progress=None)  # type: ignore[arg-type]


def test_under_eight_curves_are_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="7 complete curves") as caught:
        run(tmp_path, table_with(7))
    assert caught.value.hint
    with pytest.raises(ConfigurationError, match="neither a file nor a study"):
        simulate("no", SimulationRequest(), workspace=tmp_path, progress=None)  # type: ignore[arg-type]


def test_medians_know_never() -> None:
    never = math.inf
    assert median([3, 1, never]) == 3
    assert median([1, never]) == never
    assert median_interval([5.0] * 9).low == median_interval([5.0] * 9).high == 5
    assert median_interval([never] * 9).low == never
    ratio = median_ratio_interval([2.0] * 9, [4.0] * 9)
    assert (ratio.low, ratio.high) == (0.5, 0.5)
    assert median_ratio_interval([2.0] * 9, [never] * 9).high == 0
