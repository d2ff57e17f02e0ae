"""The model card of a generator: what a person should know before using it, as Markdown.

It says nothing that the package's `config.json` does not hold; places, times and names of people
are not in it.
"""

from typing import Any

from dexsearch.inference.card import GeneratorCard
from dexsearch.wording import printable

DISCLAIMER = "Research software, not for diagnosis."
FEWEST_FOR_INTERVAL = 8
"""Subjects below which a BCa interval is known to be too narrow."""

_COHORTS = {
    "phantom": "simulated X-ray images of procedural thorax phantoms",
    "ct": "X-ray images simulated from CT",
    "import": "image pairs that were imported as they are",
}
_SUBSETS = {"train": "training", "validation": "validation", "holdout": "hold-out"}


def model_card(card: GeneratorCard) -> str:
    """Return the text of `model_card.md`."""
    title = f"# dexsearch-{card.task}: {_and(card.targets)} from one X-ray exposure"
    sections = {
        "": [f"**{DISCLAIMER}** It is not a medical device.", "", _summary(card)],
        "What it was trained on": _training(card),
        "Scores": _scores(card),
        "Limits": [f"- {line}" for line in _limits(card)],
        "How to use it": _usage(card),
        "Where it comes from": _provenance(card),
    }
    lines = [title]
    for heading, body in sections.items():
        lines += ["", *([f"## {heading}", ""] if heading else []), *body]
    return "\n".join(lines) + "\n"


def _summary(card: GeneratorCard) -> str:
    generator = card.trial_config.get("generator", {})
    derived = " Bone is predicted; tissue is computed from it and the input." if (
        card.head == "derive"
    ) else ""  # fmt: skip
    return (
        f"A pix2pix generator (U-Net, depth {generator.get('depth', '?')}, width "
        f"{generator.get('width', '?')}, {card.n_parameters:,} parameters) that predicts "
        f"{_and(card.targets)} from a single-energy image.{derived}"
    )


def _training(card: GeneratorCard) -> list[str]:
    rows = {
        "Images": _COHORTS.get(str(card.cohort.get("kind")), "not recorded"),
        "Subjects": _by_subset(card.subjects),
        "Views": _by_subset(card.images),
        "Split": card.cohort.get("split_rule"),
        "Size": f"{card.size_px[0]} x {card.size_px[1]} px",
        "Pixel size": "not known" if card.pixel_mm is None else f"{card.pixel_mm:.4g} mm",
        "Exposure": _exposure(card.cohort),
        "Unit of the input": card.units.get("input") or "not recorded",
        "Units of the output": ", ".join(
            f"{target} {card.units.get(target) or 'not recorded'}" for target in card.targets
        ),
        "Training": f"{card.epochs} epochs, seed {card.trial_config.get('seed', 'not recorded')}",
        "Dataset digest": f"`{card.dataset}`",
        "Split digest": card.split and f"`{card.split}`",
    }
    table = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
    return ["| | |", "|---|---|", *table]


def _by_subset(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{counts[subset]} {name}" for subset, name in _SUBSETS.items() if subset in counts
    )


def _exposure(cohort: dict[str, Any]) -> str:
    """Return the conditions of the inputs in words; empty where they are not known."""
    told = []
    for key, words in {
        "kvp": "{} kVp",
        "dose_mas": "{} mAs",
        "scatter": "scatter-to-primary ratio {}",
        "blur_mm": "blur {} mm",
        "electronic_noise_kev": "electronic noise {} keV",
        "geometry": "{} beam",
    }.items():
        if cohort.get(key) is not None:
            told.append(words.format(cohort[key]))
    return ", ".join(told)


def _scores(card: GeneratorCard) -> list[str]:
    """Return a table of the scores by target, beside what doing nothing scores."""
    lines = [
        f"Masked SSIM (definition {card.metric}) on validation subjects at the final epoch:",
        "",
        f"| | mean | {' | '.join(card.targets)} |",
        f"|---|{'---|' * (1 + len(card.targets))}",
    ]
    own = ["val_ssim", *(f"val_ssim_{target}" for target in card.targets)]
    lines.append(f"| **this generator** | {' | '.join(_score(card, name) for name in own)} |")
    for method, scores in card.baselines.items():
        known = [scores[target] for target in card.targets if target in scores]
        mean = [sum(known) / len(known)] if len(known) == len(card.targets) else [None]
        cells = [_number(value) for value in (*mean, *(scores.get(t) for t in card.targets))]
        lines.append(f"| {_cell(method.replace('_', ' '))} | {' | '.join(cells)} |")
    lines += ["", _about_intervals(card)]
    others = {k: v for k, v in card.scores.items() if k not in own and v is not None}
    others = {k: v for k, v in others.items() if not k.startswith("val_ssim_") or "whole" in k}
    if others:
        lines += ["", "Other scores of the same images:", ""]
        lines += [f"- {_cell(name)}: {_number(value)}" for name, value in others.items()]
    return lines


def _score(card: GeneratorCard, name: str) -> str:
    ends = card.intervals.get(name)
    interval = "" if ends is None else f" ({ends[0]:.4f} to {ends[1]:.4f})"
    return _number(card.scores.get(name)) + interval


def _about_intervals(card: GeneratorCard) -> str:
    if not card.intervals:
        return "There is no interval: that takes scores of at least three validation subjects."
    few = ""
    if (card.n_subjects or 0) < FEWEST_FOR_INTERVAL:
        few = f"; with fewer than {FEWEST_FOR_INTERVAL} subjects it is narrower than it should be"
    return (
        f"In brackets: 95 % interval (BCa bootstrap over {card.n_subjects} validation "
        f"subjects){few}. This generator was chosen on these subjects, so its score is "
        "optimistic; `dexsearch compare` looks at the hold-out."
    )


def _limits(card: GeneratorCard) -> list[str]:
    multiple = _multiple(card)
    lines = []
    if card.cohort.get("kind") in ("phantom", "ct"):
        lines.append(
            "Trained and scored on simulated images: what real detectors and patients add "
            "(scatter, motion, implants, processing by the vendor) it has not seen, and nothing "
            "here says how well it does on radiographs."
        )
    lines += [
        f"The unit of its input is `{_cell(card.units.get('input') or 'not recorded')}`. Grey "
        "levels of pictures have none; `dexsearch predict` can only match their mean and spread.",
        "Images of another pixel size, anatomy, projection or exposure than those above are "
        "outside of what it learned.",
        f"Without dexsearch, height and width have to be multiples of {multiple} (2^depth), at "
        f"least {2 * multiple}; dexsearch pads and crops.",
    ]
    if card.trial_config.get("generator", {}).get("input_normalization") == "per_image":
        lines.append(
            "It normalises each image as a whole, so padding or tiling changes the result."
        )
    lines.append(
        "A predicted image can hold structures that are not there and lack some that are."
    )
    return lines


def _usage(card: GeneratorCard) -> list[str]:
    multiple = _multiple(card)
    names = ", ".join(card.targets) + ("," if len(card.targets) == 1 else "")
    return [
        "With dexsearch, which checks every hash of this folder first and pads and crops:",
        "",
        "```console",
        "$ dexsearch predict THIS_FOLDER image.dcm prediction.dcm",
        "```",
        "",
        "Without dexsearch, with torch alone (2.10 or later). `torch.export.load` trusts its "
        "file, so compare its sha256 with `manifest.json` if others could have written it:",
        "",
        "```python",
        "import torch",
        "",
        'network = torch.export.load("mlflow/data/model.pt2").module()',
        f"image = torch.zeros(1, 1, {4 * multiple}, {6 * multiple})  # float32, "
        f"{_cell(card.units.get('input') or 'unit of the input')}",
        "with torch.inference_mode():",
        f"    {names} = network(image)[0]",
        "```",
        "",
        "As a service: `mlflow models serve --model-uri mlflow --env-manager local`.",
    ]


def _provenance(card: GeneratorCard) -> list[str]:
    rows = {
        "Study": f"{card.study}, trial {card.trial}, objective {card.objective}",
        "Trained on": card.machine,
        "Latency": _latency(card.latency),
        "Git commit": card.git_commit,
        "Libraries": ", ".join(f"{name} {number}" for name, number in card.libraries.items()),
    }
    table = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
    return [
        "| | |", "|---|---|", *table, "",
        "`config.json` holds every parameter, `curve.json` the learning curve, `manifest.json` "
        "the sha256 of every file.",
    ]  # fmt: skip


def _latency(latency: dict[str, Any] | None) -> str:
    if not latency:
        return ""
    rows, columns = (latency.get("size_px") or ["?", "?"])[:2]
    return (
        f"{float(latency.get('ms', 0)):.3g} ms for one image of {rows} x {columns} px "
        f"({latency.get('device')}, {latency.get('threads')} threads, {latency.get('machine')})"
    )


def _multiple(card: GeneratorCard) -> int:
    generator = card.trial_config.get("generator", {})
    return 1 << int(generator.get("depth", 0))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _and(words: tuple[str, ...]) -> str:
    return " and ".join(words)


def _cell(value: object) -> str:
    """Return text that stays inside a cell of a table and cannot be markup."""
    text = printable(str(value)).replace("|", "\\|")
    return text.replace("<", "&lt;")
