"""What is put into Ray's object store, and when that is refused; real clusters: test_elastic."""

from pathlib import Path

import pytest

from dexsearch.data.dataset import OPEN_SUBSETS
from dexsearch.data.store import Dataset
from dexsearch.errors import EnvironmentFault
from dexsearch.search.data_shipping import arrays_of, open_bytes, refuse_too_many


def test_every_array_of_the_open_subsets_is_sent_and_none_of_the_holdout(
    exposed_cohort: Dataset,
) -> None:
    for subset in OPEN_SUBSETS:
        assert set(arrays_of(exposed_cohort, subset)) == set(exposed_cohort.manifest.arrays)
    assert "holdout" not in OPEN_SUBSETS
    sent = sum(
        array.nbytes
        for subset in OPEN_SUBSETS
        for array in arrays_of(exposed_cohort, subset).values()
    )
    assert open_bytes(exposed_cohort.manifest) == sent


def test_images_that_neither_store_nor_disk_holds_are_refused_with_sizes_nodes_and_remedy(
    tmp_path: Path,
) -> None:
    with pytest.raises(EnvironmentFault, match=r"10\.0\.0\.7, 10\.0\.0\.9") as caught:
        refuse_too_many(2**60, 200 * 2**20, ["10.0.0.7", "10.0.0.9"], spill_folder=tmp_path)
    assert "1099511627776 MiB do not fit" in str(caught.value)
    assert "(200 MiB)" in str(caught.value)
    assert "--object-store-memory" in (caught.value.hint or "")
    refuse_too_many(2**20, 200 * 2**20, ["10.0.0.7"], spill_folder=tmp_path)
