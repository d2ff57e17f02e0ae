"""How a dataset's tissue target follows from its inputs and its bone target."""

from collections.abc import Mapping

from dexsearch.config.trial import Task
from dexsearch.data.exposures import exposure_of
from dexsearch.data.manifest import Manifest
from dexsearch.errors import ConfigurationError
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.inversion import ExposureInversion
from dexsearch.physics.inversion_fit import fit_inversion


def inversion_of(manifest: Manifest) -> ExposureInversion:
    """Return how a dataset's tissue target follows from its inputs and its bone target.

    Raises:
        ConfigurationError: as `inversion_for`.
    """
    exposed = exposure_of(manifest)
    return inversion_for(None if exposed is None else exposed[0], manifest.units)


def inversion_for(exposure: Exposure | None, units: Mapping[str, str]) -> ExposureInversion:
    """Return how tissue follows from inputs so exposed and bone.

    Where both targets are thicknesses in cm, the tissue target is the mean length of a pixel's
    rays through soft tissue, which is what the inversion computes.

    Args:
        exposure: of the inputs; None where they are no simulated exposure.
        units: of the targets, by name.

    Raises:
        ConfigurationError: if the exposure is not known or has scatter, or a target is no
            thickness.
    """
    found = ", ".join(f"{name} in {units.get(name)!r}" for name in Task.DERIVE.targets)
    try:
        if exposure is None:
            raise ValueError("the inputs are no simulated exposures")
        if {units.get(name) for name in Task.DERIVE.targets} != {"cm"}:
            raise ValueError(f"the targets are no thicknesses in cm: {found}")
        return fit_inversion(exposure)
    except ValueError as error:
        raise ConfigurationError(
            f"task 'derive' cannot compute tissue from these inputs and bone: {error}",
            hint="choose the task joint, bone or tissue, or data that 'data phantom' or 'data ct' "
            "made with targets basis and without scatter",
        ) from None
