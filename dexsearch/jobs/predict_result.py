"""What `dexsearch predict` prints: of one image, or of a folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dexsearch.errors import DataError
from dexsearch.inference.card import GeneratorCard
from dexsearch.wording import printable

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was predicted, by which generator, and where it was written."""

    model: str
    study: str
    trial: int
    sha256: str
    input: Path
    size_px: tuple[int, int]
    units: dict[str, str]
    files: tuple[Path, ...]
    weights_sha256: str = ""
    lowest: dict[str, float] = field(default_factory=dict)
    """Smallest value of each target, in its unit; thickness below 0 is the generator's error."""
    skipped: bool = False
    """Whether it was predicted before, by the same weights from the same content."""

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "model": self.model,
            "study": self.study,
            "trial": self.trial,
            "sha256": self.sha256,
            "weights_sha256": self.weights_sha256,
            **self.of_image(),
        }

    def of_image(self) -> dict[str, Any]:
        """Return the part that differs between the images of one command."""
        return {
            "input": str(self.input),
            "size_px": list(self.size_px),
            "units": self.units,
            "files": [str(file) for file in self.files],
            "lowest": self.lowest,
            "skipped": self.skipped,
        }

    def refuse_failures(self) -> None:
        """Do nothing: an image that failed has raised."""

    def __str__(self) -> str:
        """Return the text for people: one file a line."""
        return "\n".join(str(file) for file in self.files)


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be predicted, and why."""

    input: Path
    error: str

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {"input": str(self.input), "error": self.error}


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was predicted of a folder."""

    model: str
    card: GeneratorCard
    sha256: str
    images: tuple[Prediction, ...]
    failed: tuple[Failure, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "model": self.model,
            "study": self.card.study,
            "trial": self.card.trial,
            "sha256": self.sha256,
            "images": [image.of_image() for image in self.images],
            "failed": [failure.as_json() for failure in self.failed],
        }

    @property
    def summary(self) -> str:
        """Return how many images were predicted, passed over and refused."""
        n_skipped = sum(image.skipped for image in self.images)
        parts = [f"{len(self.images) - n_skipped} images predicted"]
        if n_skipped:
            parts.append(f"{n_skipped} had been, by the same weights from the same images")
        if self.failed:
            parts.append(f"{len(self.failed)} could not be")
        return ", ".join(parts)

    def refuse_failures(self) -> None:
        """Raise DataError if an image could not be predicted."""
        if not self.failed:
            return
        names = [printable(failure.input.name) for failure in self.failed[:_MOST_NAMED]]
        more = len(self.failed) - len(names)
        raise DataError(
            f"{len(self.failed)} of {len(self.failed) + len(self.images)} images could not be "
            f"predicted: {', '.join(names)}{f' and {more} more' if more else ''}",
            hint="repair or remove them; the same command then continues",
        )

    def __str__(self) -> str:
        """Return the text for people: one file a line."""
        return "\n".join(str(image) for image in self.images) or "(none)"
