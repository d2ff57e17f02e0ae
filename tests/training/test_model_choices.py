"""The benchmark of model choices tells an epoch's seconds without the costlier last one."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dexsearch.training.record import EpochRecord

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="installed without the benchmarks")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def timed(*seconds: float) -> list[EpochRecord]:
    record = EpochRecord(
        epoch=1, val_ssim=0.5, val_ssim_bone=0.5, val_ssim_tissue=0.5, val_ssim_whole=0.5,
        val_psnr=20.0, val_mae=0.1, loss_l1=0.1, loss_generator=1.0, loss_discriminator=0.5,
        seconds=0.0,
    )  # fmt: skip
    return [replace(record, epoch=n + 1, seconds=s) for n, s in enumerate(seconds)]


def test_the_last_epoch_is_not_timed_unless_it_is_the_only_one() -> None:
    from model_choices import median_epoch_s

    assert median_epoch_s(timed(9.0, 2.0, 3.0, 40.0)) == 3.0
    assert median_epoch_s(timed(2.0, 40.0)) == 2.0
    assert median_epoch_s(timed(40.0)) == 40.0


def test_a_run_recorded_with_its_last_epoch_alone_has_no_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from model_choices import REFERENCE, print_table

    old = {"name": REFERENCE, "seed": 0, "scores": {"bone": 0.9, "tissue": 0.8}}
    print_table([{**old, "seconds_per_epoch": 40.0}], [REFERENCE])
    assert capsys.readouterr().out.rstrip().endswith("| - |")
    print_table([{**old, "median_epoch_s": 2.5}], [REFERENCE])
    assert capsys.readouterr().out.rstrip().endswith("| 2.50 |")
