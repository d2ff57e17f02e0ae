"""What MLflow's pages say of a registered model and its versions, in Markdown.

Pictures are artifacts of the version's run, which the server that shows the page serves too.
"""

from urllib.parse import quote

from dexsearch.registry.generator_files import FOLDER
from dexsearch.registry.record import CHAMPION, Registration, Registry, TargetScores

MOST_PICTURES = 2
LONGEST_TEXT = 5000
ALWAYS = "Research software, not for diagnosis."


def version_text(registry: Registry, version: Registration, run_id: str | None) -> str:
    """Return a table of scores beside what doing nothing scores, and pictures."""
    lines = [
        f"`{version.name}/{version.version}` of the workspace's registry: study "
        f"`{version.study}`, trial {version.trial}, {version.epochs} epochs. Masked SSIM on "
        "validation subjects:",
        "",
        *_table(version),
        "",
        *_pictures(registry, version, run_id),
        ALWAYS,
    ]
    return "\n".join(lines)[:LONGEST_TEXT]


def model_text(registry: Registry, name: str, run_ids: dict[int, str]) -> str:
    """Return what the page of a registered model says: its champion, with pictures."""
    lines = ["Generators that dexsearch registered; their aliases are moved by dexsearch.", ""]
    number = registry.aliases.get((name, CHAMPION))
    for version in registry.versions:
        if (version.name, version.version) == (name, number):
            told = version_text(registry, version, run_ids.get(version.version))
            return "\n".join([*lines, f"Its {CHAMPION}:", "", told])[:LONGEST_TEXT]
    return "\n".join([*lines, ALWAYS])


def _table(version: Registration) -> list[str]:
    own: TargetScores = {
        target: score
        for target, score in (("bone", version.val_ssim_bone), ("tissue", version.val_ssim_tissue))
        if score is not None
    }
    rows = []
    for name, scores in {"this generator": own, **version.baselines}.items():
        cells = [scores.get(target) for target in ("bone", "tissue")]
        told = ["-" if value is None else f"{value:.4f}" for value in cells]
        rows.append(f"| {name.replace('_', ' ')} | {' | '.join(told)} |")
    return ["| | bone | tissue |", "|---|---|---|", *rows]


def _pictures(registry: Registry, version: Registration, run_id: str | None) -> list[str]:
    """Return the first pictures and the learning curve, as images of the page."""
    if run_id is None:
        return []
    package = registry.path_of(version)
    files = [*sorted(package.glob("pictures/*.png"))[:MOST_PICTURES], package / "curve.png"]
    lines = []
    for file in files:
        if file.is_file():
            path = f"{FOLDER}/{file.relative_to(package).as_posix()}"
            place = f"get-artifact?run_id={run_id}&path={quote(path)}"  # relative to MLflow's root
            lines += [f"![{file.stem}]({place})", ""]
    return lines
