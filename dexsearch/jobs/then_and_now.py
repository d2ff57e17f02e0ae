"""What a generator was trained with, and what of that can be had here."""

from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.errors import DataError, DexSearchError
from dexsearch.inference.card import GeneratorCard
from dexsearch.ledger.study import read_study

if TYPE_CHECKING:
    import torch

    from dexsearch.training.arithmetic import Arithmetic
    from dexsearch.training.precision import Precision


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a generator is trained with again."""

    device: "torch.device"
    precision: "Precision"
    arithmetic: "Arithmetic"
    """Threads and precision as they were, where that is recorded; the rest as it is here."""
    warnings: tuple[str, ...]
    """What is not as it was then, or not known."""


def conditions_of(card: GeneratorCard, workspace: Path) -> Conditions:
    """Choose device, threads and precision for a generator, and say what differs.

    Precision is taken over on the same type of device alone, where it is what was fast then.

    Raises:
        DataError: if what the card says of its training cannot be understood.
    """
    from dataclasses import replace

    import torch

    from dexsearch.training.arithmetic import arithmetic_here
    from dexsearch.training.device import training_device
    from dexsearch.training.precision import Precision, fastest_precision

    then = _then(card)
    device = training_device()
    fastest = fastest_precision(device)
    precision = fastest
    if then is not None and then.device == device.type:
        known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
        if then.precision not in known:
            raise DataError(f"precision {then.precision!r} is not known; {', '.join(known)} are")
        precision = Precision(device.type, known[then.precision])
    threads = then.threads if then is not None else _threads_of_study(card, workspace)
    here = replace(arithmetic_here(device, precision), threads=threads)
    warnings = [*_software(card), *_differences(card, then, here)]
    if precision.dtype is torch.bfloat16 and fastest.dtype is not torch.bfloat16:
        warnings.append("this processor emulates bfloat16, which is slow")
    return Conditions(device, precision, here, tuple(warnings))


def _then(card: GeneratorCard) -> "Arithmetic | None":
    """Return what the last epochs of a generator were computed with, if that is recorded."""
    from dexsearch.training.arithmetic import Arithmetic

    try:
        known = [Arithmetic.from_dict(values) for values in card.trained_with]
    except (ValueError, AttributeError) as error:
        raise DataError(f"the card's 'trained_with' cannot be read: {error}") from None
    return known[-1] if known else None


def _threads_of_study(card: GeneratorCard, workspace: Path) -> int:
    """Return the processors that a trial of the study had; 1 where the study is gone."""
    try:
        study = read_study(workspace / "studies" / card.study)
        return int(study.space["resources"]["cpus"])
    except (DexSearchError, OSError, KeyError, TypeError, ValueError):
        return 1


def _software(card: GeneratorCard) -> list[str]:
    """Return what is another version than on the card; torch, if its training tells it, not."""
    from dexsearch.jobs.measuring import git_commit

    names = ("dexsearch",) if card.trained_with else ("dexsearch", "torch")
    pairs = [(name, card.libraries.get(name), library_version(name)) for name in names]
    commit = git_commit()
    if card.git_commit is not None and commit is not None:
        pairs.append(("dexsearch's commit", _short(card.git_commit), _short(commit)))
    return [f"{name} {then}, here {now}" for name, then, now in pairs if then and then != now]


def _short(commit: str) -> str:
    digits, plus, changes = commit.partition("+")
    return f"{digits[:12]}{plus}{changes}"


def _differences(card: GeneratorCard, then: "Arithmetic | None", here: "Arithmetic") -> list[str]:
    if then is None:
        machine = f" (its study ran on {card.machine})" if card.machine else ""
        return [
            "the record is of an earlier version and says neither processor nor threads nor "
            f"precision{machine}; here {here.processor}, {here.threads} threads, {here.precision}"
        ]
    found = [
        f"{name} {before}, here {now}"
        for (name, before), now in zip(
            then.as_dict().items(), here.as_dict().values(), strict=True
        )
        if before != now
    ]
    if len(card.trained_with) > 1:
        found.append("it was continued on another machine or torch, so no one run is the same")
    return found
