"""Contents of a report, small but with something in every section."""

import io

import numpy as np
from PIL import Image

from dexsearch.figures.parameter_plots import Bar, SlicePoint
from dexsearch.figures.study_plots import BudgetPoint, TrialCurve
from dexsearch.report.contents import (
    ImportanceChart,
    Pictures,
    Provenance,
    ReportContents,
    ScoreRow,
    Slice,
    Table,
    Tile,
    TileRow,
    TrialRow,
    Verdict,
)

HOSTILE = "</script><img src=x onerror=alert(1)> $x^{\" 'y \x1b[2J\u202e\N{SNOWMAN}"
CURVES = (
    TrialCurve(0, "complete", (1, 2, 3), (0.5, 0.6, 0.7)),
    TrialCurve(1, "pruned", (1, 2), (0.4, 0.45)),
    TrialCurve(2, "complete", (1, 2, 3), (0.5, 0.55, 0.6), would_prune_at=2),
    TrialCurve(3, "failed", (1,), (0.2,)),
    TrialCurve(4, "running", (), ()),
)


def contents(text: str = "text") -> ReportContents:
    """Return a report in which every free text is `text`."""
    return ReportContents(
        study=text, task=text, made="2026-11-25 12:00 UTC", counts=((text, text),),
        verdict=Verdict(f"{text} won.", f"{text} is not enough.", is_enough=False),
        score_name=text,
        scores=(
            ScoreRow(text, 0.7, 0.6, None), ScoreRow(text, 0.5, None, 0.4, is_baseline=True),
        ),
        quality=(Table((text, "value"), ((text, text),)),), curves=CURVES, best=0,
        budget=(BudgetPoint(3, 0.6), BudgetPoint(9, 0.7)), epochs_spent=9,
        importances=(
            ImportanceChart(text, (Bar(text, 0.8, 0.3), Bar("other", 0.2, 0.4))),
            ImportanceChart(text, (), missing=text),
        ),
        slices=(
            Slice(text, log=True, points=tuple(
                SlicePoint(10.0**-n, 0.5 + n / 10, 3, "complete", n == 2) for n in range(5)
            )),
            Slice("choice", log=False, points=(
                SlicePoint(text, 0.5, 1, "pruned"), SlicePoint(True, 0.6, 3, "complete"),
            )),
        ),
        audit=text, audit_table=Table((text, text), ((text, text),)),
        correlations=Table((text, text), ((text, text),)),
        pictures=Pictures(
            ("input",), (TileRow(text, text, (Tile(_png(), text, text),)),), (text,)
        ),
        trials=tuple(_trial(number, text) for number in range(4)), limits=(text,),
        provenance=Provenance(((text, text),), ((text, text),), text, text),
    )  # fmt: skip


def _trial(number: int, text: str) -> TrialRow:
    score = (0.61, None, 0.7, 0.095)[number]
    return TrialRow(
        number, "complete", number, score, score, None, ((text, text),), text, is_best=number == 2
    )


def _png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "PNG")
    return stream.getvalue()
