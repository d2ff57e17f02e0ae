"""Write into `registry.jsonl` what training again with other seeds has shown."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from dexsearch.registry.entries import ReplicatedTrial
from dexsearch.registry.record import registry_from_events
from dexsearch.registry.store import open_log


def keep_replicated(workspace: Path, entries: Iterable[ReplicatedTrial]) -> None:
    """Append the entries that say something new; doing it again changes nothing.

    Raises:
        StudyBusy: if another process writes the registry for longer than half a minute.
    """
    with open_log(workspace) as log:
        known = registry_from_events(log.events_at_opening, workspace).replicated
        newest = {(one.study, one.begun, one.trial): one for one in known}
        for entry in entries:
            event = {key: value for key, value in asdict(entry).items() if key != "time"}
            old = newest.get((entry.study, entry.begun, entry.trial))
            if old is None or {**asdict(old), **event} != asdict(old):
                log.append({"event": "replicated", **event})
