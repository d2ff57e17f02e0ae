"""The image-quality numbers of an epoch record as tables that a person can read."""

from collections.abc import Mapping
from typing import Any

from dexsearch.report.contents import Table

STAGES = ("input", "prediction", "truth")


def quality_tables(record: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return what is measured of input, prediction and truth alike, then single numbers.

    Args:
        record: the final epoch of a trial; ledgers of earlier versions have no `quality`.
    """
    quality: Mapping[str, float | None] = record.get("quality") or {}
    compared: dict[str, dict[str, float | None]] = {}
    single: list[tuple[str, str]] = []
    for name, value in quality.items():
        stem, _, stage = name.rpartition("_")
        if stem and stage in STAGES:
            compared.setdefault(stem, {})[stage] = value
        else:
            single.append((_label(name), _told(value)))
    tables = []
    if compared:
        rows = tuple(
            (_label(stem), *(_told(values.get(stage)) for stage in STAGES))
            for stem, values in compared.items()
        )
        tables.append(Table(("measure", *STAGES), rows))
    if single:
        tables.append(Table(("measure", "value"), tuple(single)))
    return tuple(tables)


def _label(name: str) -> str:
    """Return a name as words; a unit at its end goes into brackets."""
    words = name.split("_")
    if words[-1] in ("mm", "cm", "px", "db"):
        return f"{_words(words[:-1])}, {words[-1]}"
    return _words(words)


def _words(words: list[str]) -> str:
    short = {"sdnr": "SDNR", "psnr": "PSNR", "mae": "MAE", "ssim": "SSIM"}
    return " ".join(short.get(word, word) for word in words)


def _told(value: float | None) -> str:
    return "\N{EN DASH}" if value is None or value != value else f"{value:.4g}"
