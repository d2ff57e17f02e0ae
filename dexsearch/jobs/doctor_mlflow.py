"""What `doctor` finds in MLflow: whether it answers, is behind the ledgers, or changed by hand."""

from collections.abc import Iterator
from pathlib import Path

from dexsearch.errors import DexSearchError
from dexsearch.jobs.checkup import Check, Findings
from dexsearch.ledger.studies import read_studies
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.address import shown
from dexsearch.registry.alias_mirror import moved_by_hand
from dexsearch.registry.inspection import Seen, known_schemas, look_at_tracking
from dexsearch.registry.points import epoch_points
from dexsearch.registry.record import Registry, read_registry
from dexsearch.registry.run_mirror import STATUS, trial_key
from dexsearch.wording import workspace_flag

_find = Findings("MLflow")


def mlflow_checks(workspace: Path, uri: str | None) -> Iterator[Check]:
    """Compare MLflow with the ledgers; both are only read.

    Args:
        workspace: whose ledgers count.
        uri: another MLflow than the workspace's own.
    """
    sync = f"dexsearch sync{workspace_flag(workspace)}"
    if uri is not None:
        sync += f" --tracking-uri {shown(uri)}"
    try:
        seen = look_at_tracking(workspace, uri)
    except DexSearchError as error:
        yield _find.problem("store", str(error), error.hint or sync)
        return
    try:
        registry = read_registry(workspace)
        studies = read_studies(workspace, lambda _: None)
    except DexSearchError:
        yield _find.warning("store", "not compared with a damaged workspace", "repair that first")
        return
    if seen is None:
        if studies:
            yield _find.warning("store", "nothing of the ledgers is in MLflow yet", sync)
        else:
            yield _find.ok("store", "none yet; the first search makes it")
        return
    yield _schema(seen, workspace if uri is None else shown(uri))
    yield _runs(seen, studies, sync)
    yield from _versions(seen, registry, sync)
    yield from _aliases(seen, registry, sync)


def _schema(seen: Seen, where: object) -> Check:
    if seen.schema is None:
        return _find.ok("store", f"{where} answers")
    known = known_schemas()
    if seen.schema == known[0]:
        return _find.ok("store", f"{where}, tables of this MLflow ({seen.schema})")
    if seen.schema in known:
        return _find.warning(
            "store",
            f"{where} was written by an older MLflow (tables {seen.schema}, here {known[0]})",
            "nothing to do: the next tune or sync migrates it, and then the older MLflow "
            "cannot open it any more; make a copy first if somebody still uses that one",
        )
    return _find.problem(
        "store",
        f"{where} was written by a newer MLflow (tables {seen.schema}, here {known[0]})",
        "upgrade mlflow in this environment",
    )


def _runs(seen: Seen, studies: tuple[StudyRecord, ...], sync: str) -> Check:
    n_missing = n_points = n_states = n_trials = 0
    for study in studies:
        for trial in study.trials:
            n_trials += 1
            run = seen.runs.get((f"{study.begun:.3f}", trial_key(study.name, trial.number)))
            if run is None:
                n_missing += 1
            else:
                n_points += max(0, len(epoch_points(trial)) - run.points)
                n_states += run.status != STATUS[trial.state]
    behind = {"trials": n_missing, "points of curves": n_points, "ends of trials": n_states}
    told = ", ".join(f"{n} {what}" for what, n in behind.items() if n)
    if told:
        return _find.warning("runs", f"behind the ledgers by {told}", sync)
    return _find.ok("runs", f"{n_trials} trials, as the ledgers have them")


def _versions(seen: Seen, registry: Registry, sync: str) -> Iterator[Check]:
    """Name the versions that one side lacks."""
    numbers = seen.numbers(registry)
    missing = [v for v in registry.versions if (v.name, v.version) not in numbers]
    if missing:
        told = ", ".join(f"{v.name}/{v.version}" for v in missing[:5])
        yield _find.warning("versions", f"{len(missing)} are not in MLflow: {told}", sync)
    ours = {(name, number) for (name, _), number in numbers.items()}
    for name, number in sorted(seen.versions.keys() - ours):
        generator = seen.versions[name, number]
        told = "was registered in MLflow by hand"
        if generator is not None:
            told = f"comes of trial {generator[1]}, which registry.jsonl does not name"
        yield _find.warning(
            f"{name}/{number} in MLflow",
            told,
            "delete it in MLflow, unless registry.jsonl was lost and comes back from a copy",
        )
    if not missing:
        yield _find.ok("versions", f"{len(registry.versions)}, as registry.jsonl has them")


def _aliases(seen: Seen, registry: Registry, sync: str) -> Iterator[Check]:
    """Name each alias that is elsewhere in MLflow: moved by hand, or not brought there yet."""
    numbers = seen.numbers(registry)
    is_agreed = True
    for name in registry.names:
        wanted = {
            alias: numbers[name, version]
            for (owner, alias), version in registry.aliases.items()
            if owner == name and (name, version) in numbers
        }
        there = seen.aliases.get(name, {})
        before = seen.set_last.get(name) or wanted
        told = moved_by_hand(name, there, before, wanted)
        for line in told:
            is_agreed = False
            fix = f"{sync} puts it right; dexsearch promote moves an alias, with evidence"
            yield _find.warning("alias", line, fix)
        late = [alias for alias, number in wanted.items() if there.get(alias) != number]
        if late and not told:
            is_agreed = False
            told_late = ", ".join(f"{name}@{alias}" for alias in late)
            yield _find.warning("alias", f"not where the registry has it yet: {told_late}", sync)
    if is_agreed:
        yield _find.ok("aliases", f"{len(registry.aliases)}, as registry.jsonl has them")
