"""What is refused before a search starts: spaces that cannot be used, a storage in the dataset."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.config.space import Distribution, Scalar, SearchSpace
from dexsearch.config.space import extreme_values as ends_of
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.space_size import Params, alike, decisions
from dexsearch.location import is_uri, shown

if TYPE_CHECKING:
    from dexsearch.data.manifest import Manifest

_RESAMPLE = "exposure.resample"
_SIZED = ("generator.depth", "discriminator.patch_px", "generator.kernel_px")


def refuse_unbuildable(space: SearchSpace, size_px: tuple[int, int]) -> None:
    """Check depth and patch size against the images, each at every value that it may take.

    Raises:
        ConfigurationError: if a bottleneck would be under 2 x 2 pixels or a discriminator's
            map empty.
    """
    from dexsearch.models.fit import fits

    for params in _corners(space):
        try:
            fits(space.config_for(params, seed=0), size_px)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None


def _corners(space: SearchSpace) -> Iterator[dict[str, Scalar]]:
    """Yield the smallest configurations, with one size at a time at each value it may take there.

    Under every combination of the values that decide what else is drawn: a depth that is only
    drawn for one kind of output is only met there, a patch size only beside an adversarial loss.
    """
    smallest = {key: _least(distribution) for key, distribution in space.search.items()}
    for decided in decisions(space):
        base = space.drawn({**smallest, **decided})
        yield base
        for key in _SIZED:
            if key in base:
                yield from ({**base, key: value} for value in _values_in(space, key, decided))


def refuse_unexposable(space: SearchSpace, dataset: Path, manifest: "Manifest | None") -> None:
    """Check every value that the exposure of the training views may take.

    Args:
        space: its fixed, searched and so also its enqueued values are looked at.
        dataset: named in messages.
        manifest: of the dataset; None where it is made on start.

    Raises:
        ConfigurationError: if a trial may expose anew what the dataset cannot, or may be given
            a jitter without a fresh exposure.
    """
    for decided in decisions(space):
        _refuse_idle_jitter(space, decided)
    resample = _possible(space, _RESAMPLE, default=False)
    if any(resample) and not _exposable(space, manifest):
        raise ConfigurationError(
            f"{_RESAMPLE} may be true, and the dataset {str(dataset)!r} cannot be exposed anew: "
            "its inputs are no simulated exposures or it has no path lengths; leave the key out, "
            "or use data that 'data phantom' or 'data ct' made with targets basis or wls"
        )
    if any(resample) and manifest is not None and _lacks_edges(manifest):
        raise ConfigurationError(
            f"{_RESAMPLE} may be true, and the dataset {str(dataset)!r} does not say what edges "
            "within a pixel let through: it was made by an older version; make it again, or leave "
            "the key out"
        )


def _refuse_idle_jitter(space: SearchSpace, decided: Params) -> None:
    """Raise ConfigurationError if a trial that decides so may jitter a stored exposure."""
    if all(_values_in(space, _RESAMPLE, decided)):
        return
    for key in ("exposure.dose_jitter", "exposure.kvp_jitter"):
        jitter = max(map(float, _values_in(space, key, decided)))
        if jitter > 0:
            raise ConfigurationError(
                f"{key} may be {jitter:g} in trials whose {_RESAMPLE} is false, where it would "
                f"change nothing; write '{_RESAMPLE}: true' under 'fixed', leave {key} out, or "
                f"search it with 'when: {_RESAMPLE} == true'"
            )


def refuse_underivable(space: SearchSpace, dataset: Path, manifest: "Manifest | None") -> None:
    """Check that tissue can be computed where a trial's head may be `derive`.

    Raises:
        ConfigurationError: naming the dataset and what it lacks.
    """
    from dexsearch.data.inversions import inversion_for, inversion_of
    from dexsearch.data.views import UNITS, Imaging

    if "derive" not in _possible(space, "task", default=space.task.value):
        return
    try:
        if manifest is not None:
            inversion_of(manifest)
        elif (phantom := space.data.phantom) is not None:
            imaging = Imaging.of(phantom, field_mm=1.0)
            exposed = None if phantom.targets == "xray-gan" else imaging.exposure
            inversion_for(exposed, UNITS[phantom.targets])
    except ConfigurationError as error:
        raise ConfigurationError(f"dataset {str(dataset)!r}: {error}", hint=error.hint) from None


def refuse_within_dataset(storage: str, study: str, dataset: Path) -> None:
    """Check that checkpoints stay out of the dataset, which would no longer be what was made.

    Args:
        storage: folder or URI, as it was asked for.
        study: name of the study, which has a folder of its own there.
        dataset: the dataset's folder.

    Raises:
        ConfigurationError: if they would be kept in it.
    """
    from dexsearch.search.storage import study_location

    place = study_location(dataset, storage, study).removeprefix("file://")
    if is_uri(place) or not Path(place).resolve().is_relative_to(dataset.resolve()):
        return
    raise ConfigurationError(
        f"--storage {shown(storage)!r} would keep checkpoints in the dataset {str(dataset)!r}, "
        "which 'dexsearch data check' would then find changed",
        hint="give a folder outside of it",
    )


def _possible(space: SearchSpace, key: str, *, default: Scalar) -> tuple[Scalar, ...]:
    """Return the values that a key may take; enqueued ones are among the searched."""
    return ends_of(space.search[key]) if key in space.search else (space.fixed.get(key, default),)


def _values_in(space: SearchSpace, key: str, decided: Params) -> tuple[Scalar, ...]:
    """Return the values that a key may take in the trials that decide so; one if not drawn."""
    if key in decided:
        return alike(space, key, decided[key])
    if key in space.search and space.is_drawn(key, decided):
        return ends_of(space.search[key])
    return (space.constant(key),)


def _exposable(space: SearchSpace, manifest: "Manifest | None") -> bool:
    from dexsearch.data.exposures import exposure_of

    if manifest is not None:
        return exposure_of(manifest) is not None
    return space.data.phantom is not None and space.data.phantom.targets != "xray-gan"


def _lacks_edges(manifest: "Manifest") -> bool:
    """Return whether a pixel had several rays of which only the mean lengths are known."""
    from dexsearch.data.exposures import exposure_of
    from dexsearch.data.manifest import EDGES

    exposed = exposure_of(manifest)
    several = exposed is not None and exposed[1].supersample > 1
    return several and EDGES not in manifest.arrays


def _least(distribution: Distribution) -> Scalar:
    """Return the value that makes the smallest network, with a discriminator if there can be one.

    `none` is passed over, because without an adversarial loss no patch size would be checked.
    """
    values = tuple(v for v in ends_of(distribution) if v != "none") or ends_of(distribution)
    numbers = [value for value in values if isinstance(value, int | float)]
    return min(numbers) if len(numbers) == len(values) else values[0]
