"""Real training on Ray, for a search as it is asked for."""

from pathlib import Path

from dexsearch.data.store import OPEN_SUBSETS, open_dataset
from dexsearch.search.cluster import prepare_environment
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.driver import Backend
from dexsearch.search.packing import largest_need_bytes
from dexsearch.search.site import Site


def training_backend(request: StudyRequest, folder: Path, site: Site) -> Backend:
    """Return the backend that trains on the request's dataset; Ray is imported here.

    Args:
        request: the search.
        folder: the study's folder.
        site: where it runs.
    """
    prepare_environment(site.address)
    space, dataset = request.space, request.dataset
    from dexsearch.search.ray_backend import RayBackend  # noqa: PLC0415  (environment first)
    from dexsearch.search.training_trials import TrainingTrials  # noqa: PLC0415

    return RayBackend(
        function=TrainingTrials(
            dataset.resolve(),
            cpus=space.resources.cpus,
            measure_latency=space.limits.latency_ms is not None,
        ),
        resources=space.resources,
        scratch=folder / "tune",
        address=site.address,
        need_bytes=largest_need_bytes(space, request.size_px, n_images=_n_images(dataset)),
    )


def _n_images(dataset: Path) -> int:
    """Return how many images a worker keeps on its device."""
    opened = open_dataset(dataset)
    return sum(len(opened.arrays(subset).input) for subset in OPEN_SUBSETS)
