"""The packaged tables are what the script writes (needs the extra `physics`)."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from dexsearch.physics import build_tables as script


def packaged() -> dict[str, np.ndarray]:
    file = resources.files("dexsearch.physics") / "tables" / "attenuation.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("material", sorted(script.COMPOSITIONS))
def test_mass_fractions_add_up_to_one(material: str) -> None:
    assert sum(script.COMPOSITIONS[material][1].values()) == pytest.approx(1.0, abs=2e-6)


@pytest.mark.parametrize("material", sorted(script.COMPOSITIONS))
def test_a_packaged_material_can_be_made_anew(material: str) -> None:
    pytest.importorskip("xraydb", reason="needs the extra `physics`")
    made = script.mass_attenuation_cm2_per_g(material)
    np.testing.assert_allclose(packaged()[f"mass_attenuation/{material}"], made, rtol=1e-5)


@pytest.mark.slow
def test_the_packaged_file_can_be_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xraydb", reason="needs the extra `physics`")
    pytest.importorskip("spekpy", reason="needs the extra `physics`")
    (tmp_path / "tables").mkdir()
    monkeypatch.setattr(script, "__file__", str(tmp_path / "build_tables.py"))
    script.main()
    with np.load(tmp_path / "tables" / "attenuation.npz", allow_pickle=False) as made:
        assert set(made.files) == set(packaged())
        for name in set(made.files) - {"about_json"}:
            np.testing.assert_allclose(packaged()[name], made[name], rtol=1e-5)
