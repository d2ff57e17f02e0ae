"""A table of recorded learning curves: what a search found, kept small and readable for replay.

A JSONL file. Its first line says where the curves come from (space, dataset, metric, machine), how
many configurations were tried and how they ended; each further line is one configuration that
trained to its last epoch:

    {"number": 3, "params": {..}, "seed": 17, "seconds": 0.61, "curves": {"val_ssim": [..], ..}}
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dexsearch.config.base import first_problem
from dexsearch.config.space import SearchSpace
from dexsearch.durable import partial_beside, write_durably
from dexsearch.errors import DataError
from dexsearch.ledger.study import State, StudyRecord, TrialRecord

FORMAT = "dexsearch-curves-1"
OBJECTIVES = ("val_ssim", "val_ssim_bone", "val_ssim_tissue")
_DIGITS = 6
_STATES: tuple[State, ...] = ("complete", "pruned", "failed", "running")


@dataclass(frozen=True, slots=True)
class CurveRow:
    """One configuration and what it scored after each epoch, from epoch 1."""

    number: int
    params: Mapping[str, Any]
    """The searched keys that this configuration has; conditional ones may be absent."""

    seed: int
    seconds: float
    """Mean seconds of an epoch, validation included."""

    curves: Mapping[str, tuple[float, ...]]
    """One value per epoch for each objective of the table."""


@dataclass(frozen=True, slots=True)
class CurveTable:
    """Complete learning curves of one space on one dataset."""

    space: Mapping[str, Any]
    """The resolved search space, as the study's ledger has it."""

    dataset_digest: str
    metric: int
    """Number of the metric's definition; scores of two definitions do not compare."""

    epochs: int
    objectives: tuple[str, ...]
    rows: tuple[CurveRow, ...]
    recorded_on: str = ""
    """Processor and versions, as free text."""

    minutes: float = 0.0
    """Wall-clock time in which at least one configuration trained."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Configurations of the study by their end; only complete ones are rows."""

    def final(self, row: CurveRow, objective: str) -> float:
        """Return what a configuration scored at its last epoch."""
        return row.curves[objective][-1]

    def best(self, objective: str) -> float:
        """Return the best final score; `ValueError` for a table without rows."""
        return max(self.final(row, objective) for row in self.rows)


def table_of(record: StudyRecord, *, recorded_on: str = "", minutes: float = 0.0) -> CurveTable:
    """Return the complete curves of a study.

    Where the study pruned, the trials that are left were good early on, so that their curves
    flatter a pruner: the counts tell how many are missing.
    """
    epochs = int(record.space["epochs"])
    whole = [t for t in record.in_state("complete") if set(t.epochs) == set(range(1, epochs + 1))]
    objectives = tuple(name for name in OBJECTIVES if all(_has(trial, name) for trial in whole))
    return CurveTable(
        space=record.space,
        dataset_digest=record.dataset_digest,
        metric=record.metric,
        epochs=epochs,
        objectives=objectives,
        rows=tuple(_row(trial, epochs, objectives) for trial in whole),
        recorded_on=recorded_on,
        minutes=round(minutes, 1),
        counts={state: len(record.in_state(state)) for state in _STATES},
    )


def write_table(table: CurveTable, path: Path) -> None:
    """Write a table: the whole file or, after a crash, the one that was there."""
    header = {"format": FORMAT, **asdict(table)}
    del header["rows"]
    lines = [header, *(asdict(row) for row in table.rows)]
    text = "".join(
        json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = partial_beside(path)
    try:
        write_durably(unfinished, text.encode())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_table(path: Path) -> CurveTable:
    """Read a table that `write_table` wrote.

    Raises:
        DataError: if the file is missing, of another format or damaged; names the line.
    """
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable table of curves: {error}") from None
    header = _parsed(path, 1, first)
    if header.get("format") != FORMAT:
        raise DataError(
            f"{path}:1: format {header.get('format')!r} is not {FORMAT!r}",
            hint="benchmarks/record_curves.py writes such tables",
        )
    try:
        table = CurveTable(
            space=dict(header["space"]),
            dataset_digest=str(header["dataset_digest"]),
            metric=int(header["metric"]),
            epochs=int(header["epochs"]),
            objectives=tuple(header["objectives"]),
            rows=(),
            recorded_on=str(header.get("recorded_on", "")),
            minutes=float(header.get("minutes", 0.0)),
            counts={state: int(n) for state, n in dict(header.get("counts", {})).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}:1: the header cannot be read: {error!r}") from None
    if table.epochs < 1 or not table.objectives:
        raise DataError(f"{path}:1: the header says {table.epochs} epochs of {table.objectives}")
    refuse_invalid_space(table.space, f"{path}:1")
    return with_rows(table, _read_rows(path, rest, table))


def refuse_invalid_space(space: Mapping[str, Any], where: str) -> None:
    """Refuse what is no search space of this version.

    Raises:
        DataError: naming the place and the key.
    """
    try:
        SearchSpace.model_validate(space)
    except ValidationError as error:
        raise DataError(
            f"{where}: its space is not valid: {first_problem(error, SearchSpace)}",
            hint="put the file back from a copy, or record it again",
        ) from None


def with_rows(table: CurveTable, rows: tuple[CurveRow, ...]) -> CurveTable:
    """Return the table with these rows instead of its own."""
    return CurveTable(
        table.space, table.dataset_digest, table.metric, table.epochs, table.objectives, rows,
        table.recorded_on, table.minutes, table.counts,
    )  # fmt: skip


def _read_rows(path: Path, lines: list[str], table: CurveTable) -> tuple[CurveRow, ...]:
    rows: dict[int, CurveRow] = {}
    for line, text in enumerate(lines, start=2):
        values = _parsed(path, line, text)
        try:
            curves = {name: tuple(map(float, values["curves"][name])) for name in table.objectives}
            row = CurveRow(
                number=int(values["number"]),
                params=dict(values["params"]),
                seed=int(values["seed"]),
                seconds=float(values["seconds"]),
                curves=curves,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}:{line}: the row cannot be read: {error!r}") from None
        problem = _problem(row, table)
        if row.number in rows:
            problem = f"configuration {row.number} stands twice"
        if problem is not None:
            raise DataError(f"{path}:{line}: {problem}")
        rows[row.number] = row
    return tuple(rows.values())


def _problem(row: CurveRow, table: CurveTable) -> str | None:
    """Return what is wrong with a row, if anything."""
    for name, curve in row.curves.items():
        if len(curve) != table.epochs:
            return f"{name} has {len(curve)} epochs, the header says {table.epochs}"
        if not all(map(math.isfinite, curve)):
            return f"{name} is not finite in every epoch"
    if not (math.isfinite(row.seconds) and row.seconds >= 0):
        return f"an epoch takes {row.seconds} seconds"
    unknown = sorted(set(row.params) - set(table.space.get("search", {})))
    return f"{unknown[0]!r} is no searched key of the header's space" if unknown else None


def _parsed(path: Path, line: int, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise DataError(
            f"{path}:{line}: expected a JSON object, got {text[:60]!r}",
            hint="put the file back from a copy, or record it again",
        )
    return values


def _has(trial: TrialRecord, objective: str) -> bool:
    values = (record.get(objective) for record in trial.epochs.values())
    return all(value is not None and math.isfinite(value) for value in values)


def _row(trial: TrialRecord, epochs: int, objectives: tuple[str, ...]) -> CurveRow:
    records = [trial.epochs[epoch] for epoch in range(1, epochs + 1)]
    return CurveRow(
        number=trial.number,
        params=trial.params,
        seed=int(trial.config.get("seed", 0)),
        seconds=round(sum(record.get("seconds", 0.0) for record in records) / epochs, 4),
        curves={
            name: tuple(round(float(record[name]), _DIGITS) for record in records)
            for name in objectives
        },
    )
