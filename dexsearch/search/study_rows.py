"""Rows of an Optuna database: many trials, and what became of them, in one transaction.

Optuna's own storage writes a value at a time and reads before each: 20 to 30 ms for a trial of
17 parameters and 27 epochs. The tables and what stands in them are Optuna's: rows are made by its
own models.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, insert

Row = dict[str, Any]


@dataclass(slots=True)
class CopiedTrial:
    """What a database has of a trial that had not ended when it was last written."""

    trial_id: int
    epochs: set[int] = field(default_factory=set)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trial: FrozenTrial, trial_id: int) -> "CopiedTrial":
        """Return what a database has that a trial was written to as it is."""
        return cls(
            trial_id, set(trial.intermediate_values), dict(trial.user_attrs),
            dict(trial.system_attrs),
        )  # fmt: skip


class StudyRows:
    """Rows to write; an attribute that is there is replaced, and so is a trial's state."""

    def __init__(self, study_id: int) -> None:
        self._study_id = study_id
        self._rows: dict[type[Any], list[Row]] = defaultdict(list)
        self._told: dict[str, tuple[BaseDistribution, str]] = {}

    def write(self, connection: Connection) -> None:
        """Write all of them in the transaction of a connection."""
        for model, rows in self._rows.items():
            connection.execute(insert(model.__table__).prefix_with("OR REPLACE"), rows)

    def add_study_attribute(self, key: str, value: object) -> None:
        """Add or change a system attribute of the study."""
        self._rows[models.StudySystemAttributeModel].append(
            {"study_id": self._study_id, "key": key, "value_json": json.dumps(value)}
        )

    def add_trial(self, trial: FrozenTrial, trial_id: int) -> None:
        """Add a trial with everything that it has."""
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            self._rows[models.TrialParamModel].append({
                "trial_id": trial_id, "param_name": name,
                "param_value": distribution.to_internal_repr(value),
                "distribution_json": self._json_of(name, distribution),
            })  # fmt: skip
        self._add_state(trial, trial_id)
        self._add_news(trial, CopiedTrial(trial_id))

    def update_trial(self, trial: FrozenTrial, copied: CopiedTrial) -> None:
        """Add what a trial has become since it was copied."""
        if trial.state.is_finished():
            self._add_state(trial, copied.trial_id)
        self._add_news(trial, copied)

    def _add_state(self, trial: FrozenTrial, trial_id: int) -> None:
        model = models.TrialModel()  # its setters turn local time into UTC
        model.datetime_start = trial.datetime_start
        model.datetime_complete = trial.datetime_complete
        self._rows[models.TrialModel].append({
            "trial_id": trial_id, "number": trial.number, "study_id": self._study_id,
            "state": trial.state, "datetime_start": model._datetime_start_utc,
            "datetime_complete": model._datetime_complete_utc,
        })  # fmt: skip
        for objective, value in enumerate(trial.values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            self._rows[models.TrialValueModel].append(
                {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
            )

    def _add_news(self, trial: FrozenTrial, copied: CopiedTrial) -> None:
        stored = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
        for epoch in sorted(trial.intermediate_values.keys() - copied.epochs):
            value, kind = stored(trial.intermediate_values[epoch])
            self._rows[models.TrialIntermediateValueModel].append({
                "trial_id": copied.trial_id, "step": epoch, "intermediate_value": value,
                "intermediate_value_type": kind,
            })  # fmt: skip
        for table, before, now in (
            (models.TrialUserAttributeModel, copied.user_attrs, trial.user_attrs),
            (models.TrialSystemAttributeModel, copied.system_attrs, trial.system_attrs),
        ):
            for key, value in _changed(before, now).items():
                self._rows[table].append(
                    {"trial_id": copied.trial_id, "key": key, "value_json": json.dumps(value)}
                )

    def _json_of(self, name: str, distribution: BaseDistribution) -> str:
        """Return a distribution as text, as a rule that of the last trial with the parameter."""
        told = self._told.get(name)
        if told is None or told[0] != distribution:
            told = self._told[name] = (distribution, distribution_to_json(distribution))
        return told[1]


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in now.items()
            if key not in before or before[key] != value}  # fmt: skip
