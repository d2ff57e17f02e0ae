"""How the rows of `dexsearch best` are put into words, for a terminal and for markdown alike."""

from collections.abc import Iterator, Sequence
from typing import Any

from dexsearch.jobs.merit import OBJECTIVE, TARGETS, rule
from dexsearch.jobs.ranked import BASELINES, Ranked
from dexsearch.registry.entries import ReplicatedTrial
from dexsearch.registry.standing import Holdout
from dexsearch.wording import printable


def shown_scores(group: Sequence[Ranked], metric: str) -> dict[str, str]:
    """Return the scores to show, by name, with their headings."""
    first = group[0].generator
    ssim = {OBJECTIVE: "mean"} | {
        name: target
        for target in TARGETS
        if getattr(first, name := f"{OBJECTIVE}_{target}") is not None
    }
    return ssim if metric in ssim else {metric: metric, **ssim}


def title(group: Sequence[Ranked], metric: str) -> str:
    """Return what a group is, and what its scores are."""
    first = group[0].generator
    subjects = {row.generator.n_subjects for row in group if row.generator.intervals}
    told = f"{first.task}, dataset {first.dataset[:12]}, metric {first.metric}: masked SSIM on "
    told += "validation subjects"
    if len(subjects) == 1 and None not in subjects:
        told += f", 95% intervals over {subjects.pop()} of them"
    if metric != OBJECTIVE:
        told += f"; ranked by {metric} ({rule(metric)})"
    return printable(told)


def baseline_rows(
    group: Sequence[Ranked], names: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Return what doing nothing scores, by baseline, in the order of the scores shown."""
    targets = [n.removeprefix(f"{OBJECTIVE}_") for n in names if n.startswith(f"{OBJECTIVE}_")]
    for baseline in BASELINES:
        known = group[0].generator.baselines.get(baseline, {})
        scores: dict[str, float | None] = {f"{OBJECTIVE}_{t}": known.get(t) for t in TARGETS}
        values = [known[target] for target in targets if target in known]
        if values and len(values) == len(targets):
            scores[OBJECTIVE] = sum(values) / len(values)
        yield baseline, [score_text(scores.get(name)) for name in names]


def score_text(value: float | None) -> str:
    """Return a score with four digits after the point."""
    return "-" if value is None else f"{value:.4f}"


def value_text(value: Any) -> str:  # noqa: ANN401
    """Return a parameter's value for people: numbers with four digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return printable(f"{value:.4g}" if isinstance(value, float) else str(value))


def differing(group: Sequence[Ranked]) -> list[str]:
    """Return the searched parameters whose values differ within a group."""
    names = dict.fromkeys(name for row in group for name in row.generator.params)
    seen = {name: {repr(row.generator.params.get(name)) for row in group} for name in names}
    return [name for name in names if len(seen[name]) > 1]


def megabytes(size_bytes: int) -> str:
    """Return a size in megabytes, 10^6 bytes."""
    return f"{size_bytes / 1e6:.3g} MB"


def milliseconds(latency: dict[str, Any] | None) -> str:
    """Return the time of one image; `-` where it was not measured."""
    time_ms = (latency or {}).get("ms")
    return f"{time_ms:.3g} ms" if isinstance(time_ms, int | float) else "-"


def image_size(latency: dict[str, Any]) -> str:
    """Return the size of the image that was timed, as rows x columns."""
    size = latency.get("size_px")
    return " x ".join(map(str, size)) if isinstance(size, list | tuple) else ""


def latency_text(latency: dict[str, Any]) -> str:
    """Return how long one image took, and on what."""
    told = milliseconds(latency)
    if size := image_size(latency):
        told += f" for {size} px"
    if latency.get("device"):
        told += f" on {latency['device']}"
    if latency.get("threads"):
        told += f", {latency['threads']} threads" if latency["threads"] != 1 else ", 1 thread"
    return told + (f" ({latency['machine']})" if latency.get("machine") else "")


def holdout_text(holdout: Holdout) -> str:
    """Return who was compared with whom on the hold-out, and the verdict."""
    look = holdout.look
    told = f"{look.a} against {look.b}{f' on {look.target}' if look.target else ''}: "
    told += holdout.evidence.verdict
    if holdout.difference is not None:
        told += f", difference {holdout.difference:+.4f}"
        if holdout.interval is not None:
            told += " ({:+.4f} to {:+.4f})".format(*holdout.interval)
    return told


def replicates_text(entry: ReplicatedTrial) -> str:
    """Return what a configuration scores when it is trained again."""
    n = len(entry.seeds)
    told = f"trained again with {n} other {'seed' if n == 1 else 'seeds'}: {entry.objective} "
    told += score_text(entry.mean)
    if entry.low is not None and entry.high is not None:
        told += f" ({entry.low:.4f} to {entry.high:.4f})"
    return told
