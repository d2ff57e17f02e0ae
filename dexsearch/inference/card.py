"""The card of a generator: what is known beside its weights; a package's `config.json`."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dexsearch.config.trial import Task

FORMAT = 2
FORMATS = (1, 2)
"""What can be read; packages of format 1 hold no model card and no MLflow model."""
TargetScores = dict[str, float]
_CARD_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "study", "objective", "dataset"), str),
    **dict.fromkeys(("targets", "size_px", "trained_with"), list),
    **dict.fromkeys(
        (
            "trial_config", "normalization", "units", "params", "scores", "baselines", "libraries",
            "cohort", "subjects", "images", "intervals",
        ),
        dict,
    ),
    **dict.fromkeys(("trial", "epochs", "n_parameters", "metric", "format"), int),
    "pixel_mm": (int, float, type(None)),
    "inversion": (dict, type(None)),
    **dict.fromkeys(("split", "git_commit", "machine"), (str, type(None))),
    "n_subjects": (int, type(None)),
    "latency": (dict, type(None)),
}  # fmt: skip
"""What JSON type each key of `config.json` has."""
_NOT_IN_ITS_NAME: dict[str, Any] = {
    "cohort": {},
    "subjects": {},
    "images": {},
    "split": None,
    "intervals": {},
    "n_subjects": None,
    "latency": None,
    "machine": None,
    "git_commit": None,
    "trained_with": [],
}
"""Keys since format 2, and their values where they are not known. They describe a generator and
make no other one of it, so its name does not rest on them."""
_ABSENT_IN_OLD_CARDS: dict[str, Any] = {"inversion": None, **_NOT_IN_ITS_NAME}
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
    cohort: dict[str, Any] = field(default_factory=dict)
    """What the images are of and how they were exposed: numbers and words that are known to name
    no person (kind, geometry, voltages, doses, ...)."""
    subjects: dict[str, int] = field(default_factory=dict)
    """Subset -> subjects in it."""
    images: dict[str, int] = field(default_factory=dict)
    """Subset -> images in it."""
    split: str | None = None
    """Digest of who is in which subset."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """Score -> low and high end of its 95 % interval over validation subjects."""
    n_subjects: int | None = None
    """Validation subjects behind the intervals."""
    latency: dict[str, Any] | None = None
    """Of one image, when it was registered: `ms`, `size_px`, `device`, `threads`, `machine`."""
    machine: str | None = None
    """What its study ran on."""
    git_commit: str | None = None
    """Of the dexsearch that registered it, where that was a checkout."""
    trained_with: list[dict[str, Any]] = field(default_factory=list)
    """Fields of `training.arithmetic.Arithmetic` of its epochs: one, or several where it was
    continued elsewhere; empty where that is not known."""

    @property
    def head(self) -> str:
        """What the network predicts: bone, tissue, joint, or derive (bone; tissue computed)."""
        return str(self.trial_config.get("task", self.task))

    def content_hash(self, weights_sha256: str) -> str:
        """Return 16 hex digits that name this generator, whichever library versions made it.

        A trial that is packed again gets its old name, also where its configuration says by now
        what went without saying then, or its card what was not told then.
        """
        known = {**asdict(self), "format": FORMATS[0], "weights": weights_sha256}
        known["trial_config"] = _without_what_went_without_saying(self.trial_config)
        for key in ("libraries", *_NOT_IN_ITS_NAME):
            del known[key]
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
    _check_contents(values)
    card = GeneratorCard(**{**values, "targets": tuple(texts), "size_px": tuple(sizes)})
    if card.head == Task.DERIVE and card.inversion is None:
        raise ValueError("head 'derive' computes tissue with 'inversion', which is null")
    return card


def _check_contents(values: dict[str, Any]) -> None:
    """Raise ValueError where an entry of a table of numbers is none."""
    rules: dict[str, Callable[[Any], bool]] = {
        "scores": lambda value: value is None or _is_number(value),
        "baselines": lambda value: (
            isinstance(value, dict) and all(map(_is_number, value.values()))
        ),
        "subjects": lambda value: type(value) is int,
        "images": lambda value: type(value) is int,
        "intervals": lambda value: (
            isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        ),
    }
    for name, is_right in rules.items():
        for key, value in values[name].items():
            if not is_right(value):
                raise ValueError(f"{name!r} has {str(value)[:60]!r} for {key[:60]!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
