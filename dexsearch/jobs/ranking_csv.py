"""Registered generators as CSV: one line each, always the same columns, safe in a spreadsheet."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from dexsearch.jobs.merit import OBJECTIVE, TARGETS
from dexsearch.jobs.ranked import BASELINES, Ranked
from dexsearch.jobs.ranking_words import image_size
from dexsearch.wording import printable

_FORMULA = re.compile(
    r"\s*[=+\-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
    r"\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}]"
)
"""A cell that begins like this is run as a formula by some spreadsheet."""


def ranking_csv(rows: Sequence[Ranked]) -> str:
    """Return a header and one line per generator; what is not known is an empty cell.

    Tables whose keys depend on the search, `scores` and `params`, are JSON in one cell. A text
    that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = _cells(row)
        writer.writerow([_safe(cells[name]) for name in COLUMNS])
    return stream.getvalue()


def _cells(row: Ranked) -> dict[str, Any]:
    """Return every cell by the name of its column."""
    told = row.as_json()
    latency = told["latency"] or {}
    replicates, evidence = told["replicates"] or {}, told["evidence"] or {}
    intervals = {name: row.interval(name) or (None, None) for name in _SSIM}
    return {
        **{name: told[name] for name in _PLAIN},
        "aliases": " ".join(row.aliases),
        **{f"{name}_low": low for name, (low, _) in intervals.items()},
        **{f"{name}_high": high for name, (_, high) in intervals.items()},
        **{
            f"{baseline}_{target}": told["baselines"].get(baseline, {}).get(target)
            for baseline in BASELINES
            for target in TARGETS
        },
        "latency_ms": latency.get("ms"),
        "latency_size_px": image_size(latency).replace(" ", ""),
        "latency_device": latency.get("device"),
        "latency_threads": latency.get("threads"),
        "latency_machine": latency.get("machine"),
        "replicates": len(replicates.get("seeds", ())) or None,
        **{f"replicates_{key}": replicates.get(key) for key in ("mean", "low", "high")},
        **{f"holdout_{key}": evidence.get(key) for key in _HOLDOUT},
        "params": json.dumps(told["params"]),
        "scores": json.dumps(told["scores"]),
    }


def _safe(value: Any) -> Any:  # noqa: ANN401
    """Return a cell that no spreadsheet runs; numbers stay numbers."""
    if value is None or isinstance(value, int | float):
        return value
    text = printable(str(value))
    return f"'{text}" if _FORMULA.match(text) else text


_SSIM = (OBJECTIVE, *(f"{OBJECTIVE}_{target}" for target in TARGETS))
_HOLDOUT = ("a", "b", "target", "verdict", "difference", "low", "high")
_PLAIN = (
    "rank", "name", "version", "task", "head", "study", "trial", "dataset", "metric", *_SSIM,
    "n_subjects", "above_champion", "epochs", "n_parameters", "size_bytes", "seed", "git_commit",
    "uri", "sha256", "weights_sha256",
)  # fmt: skip
COLUMNS = (
    "rank", "name", "version", "aliases", "task", "head", "study", "trial", "dataset", "metric",
    *(f"{name}{end}" for name in _SSIM for end in ("", "_low", "_high")),
    "n_subjects",
    *(f"{baseline}_{target}" for baseline in BASELINES for target in TARGETS),
    "above_champion",
    *(f"holdout_{key}" for key in _HOLDOUT),
    "replicates", "replicates_mean", "replicates_low", "replicates_high",
    "epochs", "n_parameters", "size_bytes",
    "latency_ms", "latency_size_px", "latency_device", "latency_threads", "latency_machine",
    "seed", "git_commit", "params", "scores", "uri", "sha256", "weights_sha256",
)  # fmt: skip
"""Released columns; new ones are added at the end."""
