"""The card of a generator: what is known beside its weights; a package's `config.json`."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from dexsearch.config.trial import Task

FORMAT = 1
TargetScores = dict[str, float]
_CARD_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "study", "objective", "dataset"), str),
    **dict.fromkeys(("targets", "size_px"), list),
    **dict.fromkeys(
        ("trial_config", "normalization", "units", "params", "scores", "baselines", "libraries"),
        dict,
    ),
    **dict.fromkeys(("trial", "epochs", "n_parameters", "metric", "format"), int),
    "pixel_mm": (int, float, type(None)),
    "inversion": (dict, type(None)),
}
"""What JSON type each key of `config.json` has."""
_ABSENT_IN_OLD_CARDS: dict[str, Any] = {"inversion": None}
"""Keys that packages of earlier versions lack, and what that means."""

_NEW_IN_TRIAL_CONFIG: dict[tuple[str, str], Any] = {
    ("discriminator", "spectral_norm"): False,
    ("loss", "ssim_weight"): 0.0,
    ("optimizer", "discriminator_ratio"): 1.0,
    ("optimizer", "schedule"): "constant",
    ("optimizer", "warmup_epochs"): 0.0,
}
"""Keys of `trial_config` that the first packages lack, and what they were trained with. Names of
generators rest on these values, so they stay even where a default changes."""


@dataclass(frozen=True, slots=True)
class GeneratorCard:
    """What is known about a generator beside its weights; `config.json` of a package."""

    task: str
    targets: tuple[str, ...]
    trial_config: dict[str, Any]
    """The `TrialConfig` that it was trained with, seed included."""
    normalization: dict[str, Any]
    """Fields of `training.normalization.Normalization`."""
    units: dict[str, str]
    """Unit of the input and of each target."""
    study: str
    trial: int
    params: dict[str, Any]
    """The searched values, by dotted key."""
    objective: str
    epochs: int
    n_parameters: int
    dataset: str
    """Digest of the dataset that it was trained and scored on."""
    size_px: tuple[int, int]
    pixel_mm: float | None
    metric: int
    """Number of the metric definition of every score."""
    scores: dict[str, float | None]
    """Validation scores at the final epoch; `val_ssim_*` is null for a target it lacks."""
    baselines: dict[str, TargetScores]
    """What doing nothing scores, by baseline and target."""
    libraries: dict[str, str]
    format: int = FORMAT
    inversion: dict[str, Any] | None = None
    """Fields of `physics.inversion.ExposureInversion`; null, or absent, where all is predicted."""

    @property
    def head(self) -> str:
        """What the network predicts: bone, tissue, joint, or derive (bone; tissue computed)."""
        return str(self.trial_config.get("task", self.task))

    def content_hash(self, weights_sha256: str) -> str:
        """Return 16 hex digits that name this generator, whichever library versions made it.

        A trial that is packed again gets its old name, also where its configuration says by now
        what went without saying then.
        """
        known = {**asdict(self), "weights": weights_sha256}
        known["trial_config"] = _without_what_went_without_saying(self.trial_config)
        del known["libraries"]
        if self.inversion is None:
            del known["inversion"]  # names of generators that never had one stay as they were
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def card_from(values: object) -> GeneratorCard:
    """Return the card that JSON values describe.

    Raises:
        ValueError: if a key is missing, not known or of another type, or if a derived head lacks
            what its tissue is computed with.
    """
    known = {field.name for field in fields(GeneratorCard)}
    if isinstance(values, dict):
        values = {**_ABSENT_IN_OLD_CARDS, **values}
    if not isinstance(values, dict) or set(values) != known:
        raise ValueError(f"expected the keys {', '.join(sorted(known))}")
    for name, expected in _CARD_TYPES.items():
        if not isinstance(values[name], expected) or isinstance(values[name], bool):
            raise ValueError(f"{name!r} cannot be {str(values[name])[:60]!r}")
    texts, sizes = values["targets"], values["size_px"]
    if not all(isinstance(text, str) for text in texts) or [type(s) for s in sizes] != [int, int]:
        raise ValueError(f"'targets' {texts!r} or 'size_px' {sizes!r} is none")
    card = GeneratorCard(**{**values, "targets": tuple(texts), "size_px": tuple(sizes)})
    if card.head == Task.DERIVE and card.inversion is None:
        raise ValueError("head 'derive' computes tissue with 'inversion', which is null")
    return card


def _without_what_went_without_saying(trial_config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without new keys that say what was always done."""
    kept = {
        name: dict(value) if isinstance(value, dict) else value
        for name, value in trial_config.items()
    }
    for (section, key), always in _NEW_IN_TRIAL_CONFIG.items():
        values = kept.get(section)
        if isinstance(values, dict) and key in values and values[key] == always:
            del values[key]
    return kept
