"""Dual-energy weights found by contrast beside those computed from the spectra."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WeightPair:
    """The weight that cancels bone, in the soft image, and soft tissue, in the bone image."""

    bone_cancelling: float
    soft_cancelling: float


@dataclass(frozen=True, slots=True)
class WeightSearch:
    """Weights found by contrast beside those computed from the spectra.

    Attributes:
        dataset: the dataset whose training views were looked at.
        pair_kvp: low and high tube voltage.
        views: number of views.
        found: where the contrast is zero.
        computed: from the spectra, at 14 cm of soft tissue and 0.5 cm of bone.
        weights: the weights that were tried.
        bone_in_soft_image_per_cm: contrast of bone left at each of them, log units per cm.
        soft_in_bone_image_per_cm: contrast of soft tissue left at each of them.
        picture: the plot.
    """

    dataset: Path
    pair_kvp: tuple[float, float]
    views: int
    found: WeightPair
    computed: WeightPair
    weights: tuple[float, ...]
    bone_in_soft_image_per_cm: tuple[float, ...]
    soft_in_bone_image_per_cm: tuple[float, ...]
    picture: Path

    def __str__(self) -> str:
        """Return the text for people."""
        low, high = self.pair_kvp
        lines = [
            f"{self.dataset}: {self.views} training views at {low:g} and {high:g} kVp",
            "cancels           found  computed  image",
        ]
        for name, found, computed, image in (
            ("bone", self.found.bone_cancelling, self.computed.bone_cancelling, "p_H - w p_L"),
            ("soft tissue", self.found.soft_cancelling, self.computed.soft_cancelling,
             "w p_L - p_H"),
        ):  # fmt: skip
            lines.append(f"{name:<15}{found:8.3f}{computed:10.3f}  {image}")
        lines += ["", "weight  bone left in the soft image  soft tissue left in the bone image"]
        columns = (self.weights, self.bone_in_soft_image_per_cm, self.soft_in_bone_image_per_cm)
        for index, (weight, bone, soft) in enumerate(zip(*columns, strict=True)):
            if index % 5 == 0:
                lines.append(f"{weight:6.2f}  {bone:+27.4f}  {soft:+34.4f}")
        lines.append("        log units per cm of the material, between neighbouring places")
        lines.append(f"picture: {self.picture}")
        return "\n".join(lines)
