"""The packaged tables are what the script writes (needs the extra `physics`)."""

from importlib import resources

import numpy as np
import pytest


def test_the_packaged_tables_can_be_made_anew() -> None:
    pytest.importorskip("xraydb", reason="needs the extra `physics`")
    pytest.importorskip("spekpy", reason="needs the extra `physics`")
    from dexsearch.physics.build_tables import build_tables

    made = build_tables()
    file = resources.files("dexsearch.physics") / "tables" / "attenuation.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as packaged:
        assert set(packaged.files) == set(made)
        for name in set(made) - {"about_json"}:
            np.testing.assert_allclose(packaged[name], made[name], rtol=1e-5)
