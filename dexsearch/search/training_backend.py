"""Real training on Ray, for a search as it is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.data.store import OPEN_SUBSETS, open_dataset
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import LEDGER_NAME
from dexsearch.search.backend import Backend
from dexsearch.search.cluster import prepare_environment
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.data_source import FolderSource
from dexsearch.search.packing import largest_need_bytes
from dexsearch.search.site import Site
from dexsearch.search.storage import study_location
from dexsearch.search.trial import TrialFunction

if TYPE_CHECKING:
    from dexsearch.search.preflight import PreflightRequest


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
            FolderSource(
                dataset.resolve(), request.dataset_digest, check_bytes=site.address is not None
            ),
            cpus=space.resources.cpus,
            measure_latency=space.limits.latency_ms is not None,
        ),
        resources=space.resources,
        scratch=folder / "tune",
        address=site.address,
        ship_code=site.ship_code,
        prepare=_with_data if site.address is not None else _as_it_is,
        preflight=_preflight_request(request, folder, site),
        need_bytes=largest_need_bytes(space, request.size_px, n_images=_n_images(dataset)),
    )


def _preflight_request(
    request: StudyRequest, folder: Path, site: Site
) -> "PreflightRequest | None":
    """Return what the nodes of a cluster are asked first; None on this machine."""
    from dexsearch.search.preflight import PreflightRequest  # noqa: PLC0415  (imports Ray)

    if site.address is None:
        return None
    return PreflightRequest(
        address=site.address,
        storage=study_location(folder, site.storage, request.name),
        dataset=request.dataset.resolve(),
        digest=request.dataset_digest,
        resources=request.space.resources,
        ship_code=site.ship_code,
        continues=_has_trials(folder),
    )


def _has_trials(folder: Path) -> bool:
    """Tell whether the study in a folder, which may not exist yet, has begun with its trials."""
    return any(event["event"] == "trial_started" for event in read_events(folder / LEDGER_NAME))


def _as_it_is(function: TrialFunction) -> TrialFunction:
    return function


def _with_data(function: TrialFunction) -> TrialFunction:
    """Let the trials find their images on every node of the cluster that was joined."""
    from dexsearch.search.data_shipping import shipped  # noqa: PLC0415  (environment first)
    from dexsearch.search.training_trials import TrainingTrials  # noqa: PLC0415  (torch)

    if isinstance(function, TrainingTrials) and isinstance(function.source, FolderSource):
        return function.from_source(shipped(function.source))
    return function


def _n_images(dataset: Path) -> int:
    """Return how many images a worker keeps on its device."""
    opened = open_dataset(dataset)
    return sum(len(opened.arrays(subset).input) for subset in OPEN_SUBSETS)
