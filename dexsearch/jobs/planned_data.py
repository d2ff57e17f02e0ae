"""What a search will train on, told from its plan: of data not made yet by what will be made."""

from typing import TYPE_CHECKING

from dexsearch.jobs.plan import SearchPlan
from dexsearch.jobs.probe import ImageCounts

if TYPE_CHECKING:
    from dexsearch.jobs.probe import Exposed


def image_counts(plan: SearchPlan) -> ImageCounts:
    """Return how many images a trial looks at; of data not made yet by the usual shares."""
    from dexsearch.data.splits import FRACTIONS
    from dexsearch.data.store import open_dataset
    from dexsearch.physics.poses import xray_gan_poses

    phantom = plan.space.data.phantom
    if phantom is None or not plan.made_on_start:
        images = open_dataset(plan.dataset).manifest.images
        return ImageCounts(len(images["train"]), len(images["validation"]))
    n_poses = phantom.poses if isinstance(phantom.poses, int) else len(xray_gan_poses())
    train, validation = (max(1, round(share * phantom.subjects)) for share in FRACTIONS[:2])
    return ImageCounts(train * n_poses, validation * n_poses)


def exposed_as(plan: SearchPlan) -> "Exposed | None":
    """Return how the training views are exposed anew; None where they cannot be."""
    from dexsearch.data.exposures import exposure_of
    from dexsearch.data.generate import THORAX_FIELD_MM
    from dexsearch.data.store import open_dataset
    from dexsearch.data.views import Imaging

    phantom = plan.space.data.phantom
    if phantom is None or not plan.made_on_start:
        return exposure_of(open_dataset(plan.dataset).manifest)
    imaging = Imaging.of(phantom, field_mm=THORAX_FIELD_MM)
    return imaging.exposure, imaging.detector
