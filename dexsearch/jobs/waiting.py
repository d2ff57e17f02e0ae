"""Which version scores above its champion on validation subjects, and waits to be compared.

A higher validation score is no evidence: the hold-out decides, once, when `promote` asks it.
"""

from dataclasses import dataclass

from dexsearch.registry.entries import Registration
from dexsearch.registry.record import CHAMPION, Registry
from dexsearch.registry.standing import Holdout, holdout_of, version_label


@dataclass(frozen=True, slots=True)
class Waiting:
    """A version that scores above its champion on validation subjects."""

    version: Registration
    champion: Registration
    holdout: Holdout | None
    """What the hold-out said of it against that champion, where it was asked."""

    @property
    def may_be_promoted(self) -> bool:
        """Whether `promote` has something to decide: the hold-out was not asked, or agreed."""
        return self.holdout is None or self.holdout.evidence.verdict == "better"

    def __str__(self) -> str:
        """Say what is known, and what is not."""
        more = self.version.val_ssim - self.champion.val_ssim
        told = (
            f"{version_label(self.version)} scores {more:.4f} above the champion "
            f"{version_label(self.champion)} on validation subjects"
        )
        if self.holdout is None:
            return f"{told}; whether it is better, only the hold-out can tell"
        return f"{told}; on the hold-out: {self.holdout.evidence.verdict}"


def champion_of(registry: Registry, group: tuple[Registration, ...]) -> Registration | None:
    """Return the champion, if it is of this group: else its scores cannot be compared."""
    return next((v for v in group if registry.aliases.get((v.name, CHAMPION)) == v.version), None)


def waiting_for_promotion(
    registry: Registry, group: tuple[Registration, ...], champion: Registration | None
) -> Waiting | None:
    """Return the best-scoring version above the champion, with the hold-out's answer if known.

    Never the next one after a refusal: whoever asks the hold-out about one version after the
    other until it agrees is told "better" by chance.
    """
    if champion is None:
        return None
    above = [
        Waiting(version, champion, holdout_of(registry, version, champion))
        for version in group
        if version.name == champion.name and version.val_ssim > champion.val_ssim
    ]
    return above[0] if above else None
