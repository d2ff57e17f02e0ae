"""Decide everything about a search before it starts: space, data, study; nothing is written."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.config.space import Choice, Distribution, Scalar, SearchSpace
from dexsearch.config.space import extreme_values as ends_of
from dexsearch.config.yaml_file import load_space
from dexsearch.errors import ConfigurationError
from dexsearch.ledger.study import LEDGER_NAME, read_study

if TYPE_CHECKING:
    from dexsearch.data.manifest import Manifest

_RESAMPLE = "exposure.resample"


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Everything decided before a search starts; printed by `--dry-run`."""

    study: str
    space: SearchSpace
    workspace: Path
    dataset: Path
    size_px: tuple[int, int]
    made_on_start: bool
    storage: Path | None = None
    address: str | None = None

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.workspace / "studies" / self.study

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "study": self.study,
            "folder": str(self.folder),
            "dataset": str(self.dataset),
            "size_px": list(self.size_px),
            "space": self.space.model_dump(mode="json", by_alias=True, exclude_none=True),
        }

    def __str__(self) -> str:
        """Return the text for people."""
        space = self.space
        lines = [
            f"study {self.study}: {space.trials} trials of at most {space.epochs} epochs, "
            f"task {space.task.value}, objective {space.objective}",
            f"data: {self.dataset} ({self.size_px[0]} x {self.size_px[1]} px"
            + (", made on start)" if self.made_on_start else ")"),
            f"pruner {space.pruner.kind} from epoch {space.pruner.min_epochs}, "
            f"sampler {space.sampler.kind} with seed {space.sampler.seed}",
            f"searched, {len(space.search)} parameters:",
        ]
        lines += [f"  {key}: {_told(how)}" for key, how in space.search.items()]
        return "\n".join(lines)


def plan_search(
    source: str,
    *,
    workspace: Path,
    trials: int | None = None,
    epochs: int | None = None,
    study: str | None = None,
    storage: Path | None = None,
    address: str | None = None,
) -> SearchPlan:
    """Read the space, find its data and check that every corner of it can be built.

    Raises:
        ConfigurationError: if the space is not valid, cannot fit the images, or is another one
            than that of the study under this name; if storage is a URI; if it asks for fresh
            exposures of data that cannot be exposed anew.
        EnvironmentFault: if no Ray cluster answers at `address`.
        DataError: if its dataset is missing or damaged.
    """
    from dexsearch.data.store import open_dataset
    from dexsearch.search.cluster import checkpoint_folder, refuse_bad_address
    from dexsearch.search.continuation import StudyRequest, refuse_changed
    from dexsearch.training.metrics import METRIC_DEFINITION

    space = _with_overrides(load_space(source), trials=trials, epochs=epochs)
    name = _study_name(Path(source).stem if study is None else study)
    checkpoint_folder(workspace / "studies" / name, storage, name)
    if address is not None:
        refuse_bad_address(address)
    dataset = _dataset_path(space, workspace)
    exists = dataset.exists()
    manifest, digest = None, "data that is not made yet"
    if exists or space.data.phantom is None:
        manifest = open_dataset(dataset).manifest
        size_px, digest = manifest.size_px, manifest.digest
    else:
        size_px = (space.data.phantom.size_px, space.data.phantom.size_px)
    refuse_unbuildable(space, size_px)
    refuse_unexposable(space, dataset, manifest)
    if (workspace / "studies" / name / LEDGER_NAME).exists():
        request = StudyRequest(name, space, dataset, digest, size_px, METRIC_DEFINITION)
        refuse_changed(read_study(workspace / "studies" / name), request)
    return SearchPlan(
        study=name, space=space, workspace=workspace, dataset=dataset, size_px=size_px,
        made_on_start=not exists, storage=storage, address=address,
    )  # fmt: skip


def refuse_unbuildable(space: SearchSpace, size_px: tuple[int, int]) -> None:
    """Check depth and patch size against the images, each at every value that it may take.

    Raises:
        ConfigurationError: if a bottleneck would be under 2 x 2 pixels or a discriminator's
            map empty.
    """
    from dexsearch.models.fit import fits

    smallest = {key: _least(distribution) for key, distribution in space.search.items()}
    for key in ("generator.depth", "discriminator.patch_px", "generator.kernel_px"):
        values = ends_of(space.search[key]) if key in space.search else (None,)
        for value in values:
            params = smallest if value is None else {**smallest, key: value}
            try:
                fits(space.config_for(params, seed=0), size_px)
            except ValueError as error:
                raise ConfigurationError(str(error)) from None


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
    resample = _possible(space, _RESAMPLE, default=False)
    for key in ("exposure.dose_jitter", "exposure.kvp_jitter"):
        jitter = max(map(float, _possible(space, key, default=0.0)))
        if jitter > 0 and not all(resample):
            raise ConfigurationError(
                f"{key} may be {jitter:g} in trials whose {_RESAMPLE} is false, where it would "
                f"change nothing; write '{_RESAMPLE}: true' under 'fixed', or leave {key} out"
            )
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


def _possible(space: SearchSpace, key: str, *, default: Scalar) -> tuple[Scalar, ...]:
    """Return the values that a key may take; enqueued ones are among the searched."""
    return ends_of(space.search[key]) if key in space.search else (space.fixed.get(key, default),)


def _exposable(space: SearchSpace, manifest: "Manifest | None") -> bool:
    from dexsearch.data.pairs import exposure_of

    if manifest is not None:
        return exposure_of(manifest) is not None
    return space.data.phantom is not None and space.data.phantom.targets != "xray-gan"


def _lacks_edges(manifest: "Manifest") -> bool:
    """Return whether a pixel had several rays of which only the mean lengths are known."""
    from dexsearch.data.manifest import EDGES
    from dexsearch.data.pairs import exposure_of

    exposed = exposure_of(manifest)
    several = exposed is not None and exposed[1].supersample > 1
    return several and EDGES not in manifest.arrays


def _with_overrides(space: SearchSpace, *, trials: int | None, epochs: int | None) -> SearchSpace:
    """Apply the flags and validate the whole again, as if the file had said so.

    Fewer epochs than the pruner waits for bring its first decision forward in proportion.
    """
    changed: dict[str, Any] = {}
    if trials is not None:
        changed["trials"] = trials
    if epochs is not None:
        changed["epochs"] = epochs
        if space.pruner.min_epochs >= epochs:  # keep the file's proportion
            first = max(1, space.pruner.min_epochs * epochs // space.epochs)
            kind = space.pruner.kind if first < epochs else "none"
            changed["pruner"] = {**space.pruner.model_dump(), "min_epochs": first, "kind": kind}
    whole = {**space.model_dump(by_alias=True, exclude_none=True), **changed}
    return SearchSpace.model_validate(whole)


def _study_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigurationError(
            f"study name {name!r} cannot name a folder; use letters, digits, '.', '_' and '-'",
            hint="--study NAME",
        )
    return name


def _dataset_path(space: SearchSpace, workspace: Path) -> Path:
    """Return the folder of the data: in the workspace, else from the current folder."""
    phantom, path = space.data.phantom, space.data.path
    if phantom is not None:
        return workspace / "datasets" / phantom.folder_name
    if path is None:
        raise ConfigurationError("the space names no data; give 'phantom' or 'path'")
    return workspace / path if (workspace / path).exists() or not path.exists() else path


def _least(distribution: Distribution) -> Scalar:
    """Return the value that makes the smallest network, with a discriminator if there can be one.

    `none` is passed over, because without an adversarial loss no patch size would be checked.
    """
    values = tuple(v for v in ends_of(distribution) if v != "none") or ends_of(distribution)
    numbers = [value for value in values if isinstance(value, int | float)]
    return min(numbers) if len(numbers) == len(values) else values[0]


def _told(distribution: Distribution) -> str:
    values = ends_of(distribution)
    if isinstance(distribution, Choice):
        return "one of " + ", ".join(map(str, values))
    return f"{values[0]} to {values[1]}" + (", logarithmic" if distribution.log else "")
