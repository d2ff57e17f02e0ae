"""What a comparison of two generators on the hold-out has found: for people, programs, tables."""

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexsearch.registry.paired import FEWEST_SUBJECTS, INCONCLUSIVE, PairedResult
from dexsearch.wording import printable


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """One hold-out image; masked SSIM of both generators, one value per target."""

    subject: str
    pose_deg: tuple[float, float, float]
    name: str
    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def score_a(self) -> float:
        """Mean over the targets."""
        return float(np.mean(self.a))

    @property
    def score_b(self) -> float:
        """Mean over the targets."""
        return float(np.mean(self.b))

    @property
    def difference(self) -> float:
        """A - B: negative where A is worse."""
        return self.score_a - self.score_b


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two generators A and B on the hold-out of one dataset."""

    a: str
    b: str
    targets: tuple[str, ...]
    """What both predict and what the score is the mean over."""
    dataset: str
    """Digest."""
    metric: int
    result: PairedResult
    by_target: dict[str, PairedResult]
    """The same for each target alone, for information; empty where there is only one."""
    images: tuple[ScoredImage, ...]
    weights_sha256: tuple[str, str] = ("", "")
    """Of A and of B: a label may come to mean another generator, these cannot."""

    @property
    def verdict(self) -> str:
        """See `PairedResult.verdict`."""
        return self.result.verdict

    @property
    def remark(self) -> str | None:
        """What makes the verdict less sure than it looks, for a person."""
        if not 1 < self.result.n_subjects == self.result.n_images:
            return None
        return (
            "every image counts as another subject: if some of them show one person, this verdict "
            "is too sure; data import --subject-pattern groups them"
        )

    def as_json(self) -> dict[str, Any]:
        """Return everything but the images' own scores, which `scores_csv` has."""
        return {
            "a": self.a,
            "b": self.b,
            "targets": list(self.targets),
            "dataset": self.dataset,
            "metric": self.metric,
            "weights_sha256": list(self.weights_sha256),
            **_numbers(self.result),
            "remark": self.remark,
            "by_target": {target: _numbers(result) for target, result in self.by_target.items()},
        }

    def scores_csv(self) -> str:
        """Return one line per image, in the order of the dataset."""
        each = [f"{who}_{target}" for target in self.targets for who in ("a", "b")]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["subject", "pose", "name", "score_a", "score_b", "difference", *each])
        for image in self.images:
            pose = " ".join(f"{angle:g}" for angle in image.pose_deg)
            scores = [image.score_a, image.score_b, image.difference]
            pairs = zip(image.a, image.b, strict=True)
            by_target = [score for pair in pairs for score in pair]
            numbers = [f"{value:.6f}" for value in (*scores, *by_target)]
            writer.writerow([image.subject, pose, image.name, *numbers])
        return stream.getvalue()

    def __str__(self) -> str:
        """Return the table and the verdict."""
        found = self.result
        lines = [
            f"A {printable(self.a)}",
            f"B {printable(self.b)}",
            f"masked SSIM of {' and '.join(self.targets)} on the hold-out of dataset "
            f"{printable(self.dataset[:12])}, metric {self.metric}: {found.n_images} images of "
            f"{found.n_subjects} subject{'s' if found.n_subjects != 1 else ''}",
            "",
            f"{'':8}{'A':>9}{'B':>9}{'A - B':>10}   95 % interval",
            _row("mean", found),
            *(_row(target, result) for target, result in self.by_target.items()),
            "",
            f"A scores higher for {found.wins} of {found.n_subjects} subjects"
            f"{f', {found.ties} are equal' if found.ties else ''}; Wilcoxon p = "
            f"{found.wilcoxon_p:.2g} ({'exact' if found.wilcoxon_exact else 'approximate'})",
            _detectable(found),
            "",
            f"verdict: {told_verdict(found)}",
            *([self.remark] if self.remark else []),
        ]
        return "\n".join(lines)


def told_verdict(result: PairedResult) -> str:
    """Return the verdict on A with what it means."""
    match result.verdict:
        case "better":
            return "better (the whole interval is above 0)"
        case "worse":
            return "worse (the whole interval is below 0)"
        case "not worse":
            return f"not worse (A loses less than {result.margin:g}, the margin)"
        case text if text != INCONCLUSIVE:
            return f"{text} ({FEWEST_SUBJECTS} are needed)"
        case text:
            return f"{text} (A may be better, or worse by more than the margin {result.margin:g})"


def _row(name: str, result: PairedResult) -> str:
    interval = "none"
    if result.low is not None and result.high is not None:
        interval = f"{result.low:+.4f} .. {result.high:+.4f}"
    return (
        f"{name:8}{result.mean_a:9.4f}{result.mean_b:9.4f}{result.difference:+10.4f}   {interval}"
    )


def _detectable(result: PairedResult) -> str:
    if result.smallest_detectable is None:
        return "smallest detectable difference: not known from one subject"
    return (
        f"smallest detectable difference: about {result.smallest_detectable:.4f}; a smaller true "
        "one is easily missed"
    )


def _numbers(result: PairedResult) -> dict[str, Any]:
    numbers = asdict(result)
    numbers["intervals"] = {name: list(ends) for name, ends in result.intervals.items()}
    return {**numbers, "win_rate": result.win_rate}


def worst_first(images: tuple[ScoredImage, ...], n: int) -> tuple[int, ...]:
    """Return the indices of the images where A loses most, at most one of each subject."""
    differences: NDArray[np.float64] = np.array([image.difference for image in images])
    chosen: dict[str, int] = {}
    for index in np.argsort(differences, kind="stable").tolist():
        chosen.setdefault(images[index].subject, index)
    return tuple(chosen.values())[:n]
