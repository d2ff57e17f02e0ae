"""What a report shows: typed values without any markup, in the order of the page.

Texts may hold anything, since names come from people; `page` escapes them. What could not be
found is told in a `missing` text, never left out in silence.
"""

from dataclasses import dataclass

from dexsearch.figures.parameter_plots import Bar, SlicePoint
from dexsearch.figures.study_plots import BudgetPoint, State, TrialCurve

Fact = tuple[str, str]
"""A label and what is to be said under it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The two sentences at the top, and why the second says what it says."""

    winner: str
    evidence: str
    is_enough: bool


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A generator or a baseline; a score that it lacks is None."""

    name: str
    mean: float | None
    bone: float | None
    tissue: float | None
    is_baseline: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A plain table; the first cell of each row names it."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ImportanceChart:
    """Which parameters mattered for the scores of one epoch."""

    heading: str
    bars: tuple[Bar, ...]
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """The newest scores of the trials against one parameter."""

    name: str
    log: bool
    points: tuple[SlicePoint, ...]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One line of the table of trials.

    Attributes:
        number: of the trial.
        state: how it ended.
        epochs: that it trained.
        score: objective at its last epoch.
        bone: masked SSIM of the bone image at that epoch.
        tissue: the same of the tissue image.
        params: searched values in the order of the space.
        remark: why it ended, and what else is worth knowing.
        is_best: whether it is the best complete trial.
    """

    number: int
    state: State
    epochs: int
    score: float | None
    bone: float | None
    tissue: float | None
    params: tuple[Fact, ...]
    remark: str
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Tile:
    """One small image."""

    png: bytes
    alt: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class TileRow:
    """One target of one validation image; as many tiles as there are columns."""

    label: str
    note: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Input, truth, predictions and differences; `missing` says what could not be shown."""

    columns: tuple[str, ...] = ()
    rows: tuple[TileRow, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is needed to make the search again."""

    facts: tuple[Fact, ...]
    libraries: tuple[Fact, ...]
    command: str
    space_yaml: str


@dataclass(frozen=True, slots=True)
class ReportContents:
    """Everything on the page."""

    study: str
    task: str
    made: str
    """Date and time of the report."""
    counts: tuple[Fact, ...]
    verdict: Verdict
    score_name: str
    """What the objective is called on axes."""
    scores: tuple[ScoreRow, ...]
    quality: tuple[Table, ...]
    curves: tuple[TrialCurve, ...]
    best: int | None
    budget: tuple[BudgetPoint, ...]
    epochs_spent: int
    importances: tuple[ImportanceChart, ...]
    slices: tuple[Slice, ...]
    audit: str
    audit_table: Table
    correlations: Table
    pictures: Pictures
    trials: tuple[TrialRow, ...]
    limits: tuple[str, ...]
    provenance: Provenance
