"""Decide everything about a search before it starts: space, data, study; nothing is written."""

import re
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from dexsearch import location
from dexsearch.config.dependencies import conditions_of
from dexsearch.config.space import Choice, SearchSpace
from dexsearch.config.space import extreme_values as ends_of
from dexsearch.config.yaml_file import load_space
from dexsearch.errors import ConfigurationError
from dexsearch.jobs.refusals import (
    refuse_unbuildable,
    refuse_underivable,
    refuse_unexposable,
    refuse_within_dataset,
)
from dexsearch.ledger.study import LEDGER_NAME, REPLICATES, read_study
from dexsearch.registry.address import check_uri, shown
from dexsearch.search.site import HERE, Site
from dexsearch.wording import duration, workspace_flag


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Everything decided before a search starts; printed by `--dry-run`."""

    study: str
    space: SearchSpace
    workspace: Path
    dataset: Path
    size_px: tuple[int, int]
    made_on_start: bool
    site: Site = HERE
    time_s: float | None = None
    """After so many seconds the search stops, to be continued; None: at its last trial."""
    replicates: int = 0
    """With so many new seeds each the short-list is trained again; 0: not at all."""
    tracking_uri: str | None = None
    """Address of MLflow; None: the workspace's own file."""

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.workspace / "studies" / self.study

    @property
    def not_asked(self) -> str | None:
        """What a dry run leaves open, with the command that tells; None without a cluster."""
        if self.site.address is None:
            return None
        where = f"--address {quote(self.site.address)}"
        if self.site.storage is not None:
            where += f" --storage {quote(location.shown(self.site.storage))}"
        else:
            where += workspace_flag(self.workspace)
        return f"the cluster was not asked: dexsearch doctor {where}"

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "study": self.study,
            "folder": str(self.folder),
            "dataset": str(self.dataset),
            "size_px": list(self.size_px),
            "time_s": self.time_s,
            "replicates": self.replicates,
            "tracking_uri": None if self.tracking_uri is None else shown(self.tracking_uri),
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
        lines += [f"  {key}: {_told(space, key)}" for key in space.search]
        if self.replicates:
            lines.append(
                f"then the best are trained again to the end, with {self.replicates} new seeds "
                f"each, as study {self.study}{REPLICATES}"
            )
        if self.time_s is not None:
            lines.append(f"stops after {duration(self.time_s)}; the same command continues")
        return "\n".join(lines)


def plan_search(
    source: str,
    *,
    workspace: Path,
    trials: int | None = None,
    epochs: int | None = None,
    study: str | None = None,
    site: Site = HERE,
    time_s: float | None = None,
    replicates: int = 0,
    tracking_uri: str | None = None,
) -> SearchPlan:
    """Read the space, find its data and check that every corner of it can be built.

    Raises:
        ConfigurationError: if the space is not valid, cannot fit the images, or is another one
            than that of the study under this name; if it asks for fresh exposures of data that
            cannot be exposed anew; if the storage is no place for checkpoints.
        EnvironmentFault: if no Ray cluster answers at `address`, or the storage does not.
        DataError: if its dataset is missing or damaged.
    """
    from dexsearch.data.store import open_dataset
    from dexsearch.search.cluster import refuse_bad_address
    from dexsearch.search.continuation import StudyRequest, refuse_changed
    from dexsearch.search.storage import refuse_no_place, refuse_unusable_storage
    from dexsearch.training.metrics import METRIC_DEFINITION

    if site.storage is not None:
        refuse_no_place(site.storage)
    space = _with_overrides(load_space(source), trials=trials, epochs=epochs)
    name = _study_name(Path(source).stem if study is None else study)
    dataset = _dataset_path(space, workspace)
    if site.storage is not None:
        refuse_within_dataset(site.storage, name, dataset)
        refuse_unusable_storage(site.storage, by_writing=False)
    if site.address is not None:
        refuse_bad_address(site.address)
    exists = dataset.exists()
    manifest, digest = None, "data that is not made yet"
    if exists or space.data.phantom is None:
        manifest = open_dataset(dataset).manifest
        size_px, digest = manifest.size_px, manifest.digest
    else:
        size_px = (space.data.phantom.size_px, space.data.phantom.size_px)
    refuse_unexposable(space, dataset, manifest)
    refuse_unbuildable(space, size_px)
    refuse_underivable(space, dataset, manifest)
    if (workspace / "studies" / name / LEDGER_NAME).exists():
        request = StudyRequest(name, space, dataset, digest, size_px, METRIC_DEFINITION)
        refuse_changed(read_study(workspace / "studies" / name), request)
    return SearchPlan(
        study=name, space=space, workspace=workspace, dataset=dataset, size_px=size_px,
        made_on_start=not exists, site=site,
        time_s=time_s, replicates=replicates, tracking_uri=check_uri(tracking_uri),
    )  # fmt: skip


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
    if name.endswith(REPLICATES):
        source = name.removesuffix(REPLICATES)
        raise ConfigurationError(
            f"study name {name!r} ends in {REPLICATES!r}, which names the replicates of a study",
            hint=f"--study {source} --replicates S trains its best again" if source else None,
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


def _told(space: SearchSpace, key: str) -> str:
    """Return the values of a searched key, and when it is drawn."""
    distribution = space.search[key]
    values = ends_of(distribution)
    if isinstance(distribution, Choice):
        told = "one of " + ", ".join(map(str, values))
    else:
        told = f"{values[0]} to {values[1]}" + (", logarithmic" if distribution.log else "")
    conditions = " and ".join(map(str, conditions_of(space.search, key)))
    return f"{told}, when {conditions}" if conditions else told
