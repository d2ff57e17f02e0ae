"""The plain pix2pix of the benchmark learns exactly what dexsearch learns."""

import importlib
from pathlib import Path

import pytest
import torch

from dexsearch.training.loop import train
from dexsearch.training.networks import Networks
from dexsearch.training.precision import Precision

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="installed without the benchmarks")
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_from_the_same_weights_and_batches_both_curves_agree(
    norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    plain = importlib.import_module("plain_pix2pix")
    benchmark = importlib.import_module("training")
    cpu = torch.device("cpu")
    monkeypatch.setattr(
        "dexsearch.training.networks.fastest_precision", lambda _: Precision("cpu", torch.float32)
    )
    settings = plain.Settings(norm=norm, width=4, discriminator_width=4, batch_size=8)
    config = benchmark.same_config(settings, 0)
    ours = Networks(config, device=cpu)
    assert ours.adversary is not None
    generator, discriminator = plain.UNet(settings), plain.PatchGAN(settings)
    generator.load_state_dict(ours.generator.state_dict())
    discriminator.load_state_dict(ours.adversary.discriminator.state_dict())
    monkeypatch.setattr(plain, "UNet", lambda _: generator)
    monkeypatch.setattr(plain, "PatchGAN", lambda _: discriminator)
    data = benchmark.draw_data(32, settings.batch_size, 2)  # one batch: the order does not matter
    benchmark.write_files(tmp_path, data)
    epochs = plain.plain_epochs(tmp_path, settings, n_workers=0)
    for record in train(config, data, epochs=4, device=cpu):
        assert record.val_ssim == pytest.approx(next(epochs)[1], abs=1e-5)
