"""The kinds of file that a generator becomes for people without dexsearch; light to import."""

from enum import StrEnum
from pathlib import Path

from dexsearch.errors import ConfigurationError


class ExportFormat(StrEnum):
    """What kind of file a generator becomes."""

    ONNX = "onnx"
    PT2 = "pt2"
    SAFETENSORS = "safetensors"


def chosen_format(out: Path, asked: ExportFormat | None) -> ExportFormat:
    """Return the format that was asked for, else that of the file's suffix.

    Raises:
        ConfigurationError: if neither says, or they contradict each other.
    """
    known = ", ".join(f".{one}" for one in ExportFormat)
    suffix = out.suffix.lower().removeprefix(".")
    by_suffix = ExportFormat(suffix) if suffix in set(ExportFormat) else None
    if asked is None and by_suffix is None:
        raise ConfigurationError(
            f"{str(out)!r} does not say which format; known suffixes: {known}",
            hint=f"for example {out.stem or 'generator'}.onnx, or --format onnx",
        )
    if asked and by_suffix and asked is not by_suffix:
        raise ConfigurationError(
            f"{str(out)!r} says {by_suffix}, but --format says {asked}",
            hint="leave one of them out",
        )
    return asked or by_suffix or ExportFormat.ONNX
