"""The audit of hand-made ledgers whose counts are known."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dexsearch.ledger.study import State, StudyRecord, TrialRecord
from dexsearch.search.audit import audit


def trial(
    number: int, value: float, *, state: State = "complete", epochs: int = 10,
    immune: bool = False, would_prune_at: int | None = None, kind: str | None = None,
    seconds: float = 0.0, early: float | None = None,
) -> TrialRecord:  # fmt: skip
    """A flat curve; `early` is the score up to epoch 5."""
    records = {
        epoch: {"val_ssim": value if early is None or epoch > 5 else early, "seconds": seconds}
        for epoch in range(1, epochs + 1)
    }
    return TrialRecord(
        number=number, params={}, config={}, immune=immune, enqueued=False, epochs=records,
        state=state, would_prune_at=would_prune_at, reason=None, kind=kind, checkpoint=None,
        started=0.0, ended=1.0,
    )  # fmt: skip


def study(trials: list[TrialRecord], kind: str = "median", *, min_epochs: int = 4) -> StudyRecord:
    space = {"epochs": 10, "pruner": {"kind": kind, "min_epochs": min_epochs}}
    return StudyRecord("s", Path("s"), space, "bone", "val_ssim", "d", "d", 1, tuple(trials))


def test_a_false_prune_is_a_doomed_trial_in_the_best_tenth() -> None:
    trials = [trial(n, n / 100) for n in range(16)]
    trials += [trial(16, 0.9, immune=True, would_prune_at=4)]  # best of 20: wrong
    trials += [trial(17, 0.0, immune=True, would_prune_at=6)]  # worst: right
    trials += [trial(18, 0.8, immune=True)]
    trials += [trial(19, 0.12, immune=True, would_prune_at=10)]
    trials += [trial(20, 0.99, state="pruned", epochs=3), trial(21, 0.1, state="failed", epochs=1)]
    found = audit(study(trials))
    assert (found.n_immune, found.n_would_be_pruned, found.n_false_prunes) == (4, 3, 1)
    assert (found.n_pruned, found.epochs_saved, found.epochs_all) == (1, 7, 210)
    assert found.epochs_paid == 6 + 4 + 0
    assert "too few to judge (under 20)" in str(found)


def test_twenty_immune_trials_are_enough() -> None:
    found = audit(study([trial(n, n / 100, immune=True) for n in range(20)]))
    assert found.enough
    assert "too few to judge" not in str(found)


def with_good(n_good: int, n_stopped: int) -> list[TrialRecord]:
    """Immune trials, a tenth of them good; the pruner would stop `n_stopped` of the good ones."""
    return [
        trial(n, n / 1000, immune=True, would_prune_at=4 if 9 * n_good <= n < bad else None)
        for bad in (9 * n_good + n_stopped,)
        for n in range(10 * n_good)
    ]


def test_few_good_trials_do_not_make_a_pruner_look_strong() -> None:
    """A coin would have stopped none of the two as often as one time in four."""
    found = audit(study(with_good(2, 0)))
    assert (found.n_immune, found.n_false_prunes, found.n_good) == (20, 0, 2)
    assert found.enough
    assert not found.keeps_good
    assert (
        "of the 2 immune in the best tenth it would have stopped 0 (0% to 84%, exact 95% "
        "interval): too few to tell whether under 50%" in str(found)
    )
    none = audit(study([*with_good(2, 0), *(trial(n, 9.0 + n) for n in range(100, 110))]))
    assert none.n_good == 0
    assert "no immune trial ended in the best tenth" in str(none)
    assert none.as_json()["good_stopped_rate"] is None


@pytest.mark.parametrize(
    ("n_good", "n_stopped", "keeps", "told"),
    [
        (6, 0, True, "surely under 50%"),
        (5, 0, False, "too few to tell"),
        (9, 1, True, "surely under 50%"),
        (20, 15, False, "surely over 50%"),
        (20, 10, False, "too few to tell"),
    ],
)
def test_a_pruner_is_trusted_once_it_surely_keeps_more_good_trials_than_it_stops(
    n_good: int, n_stopped: int, keeps: bool, told: str
) -> None:
    found = audit(study(with_good(n_good, n_stopped)))
    assert found.keeps_good is keeps
    assert told in str(found)
    shown = found.as_json()
    assert (shown["n_good"], shown["good_stopped_rate"]) == (n_good, n_stopped / n_good)
    exact = stats.binomtest(n_stopped, n_good).proportion_ci(0.95, method="exact")
    interval = (shown["good_stopped_rate_low"], shown["good_stopped_rate_high"])
    assert interval == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_a_pruner_that_tosses_a_coin_has_few_false_prunes_and_is_not_trusted() -> None:
    rng = np.random.default_rng(0)
    tosses = rng.random(200) < 0.5
    found = audit(study([
        trial(n, n / 1000, immune=True, would_prune_at=4 if stopped else None)
        for n, stopped in enumerate(tosses)
    ]))  # fmt: skip
    assert found.as_json()["false_prune_rate"] < 0.1
    assert not found.keeps_good


def test_an_empty_study_and_one_without_pruner_have_an_audit_too() -> None:
    assert "0 pruned, 0 of 0 epochs saved (0%)" in str(audit(study([])))
    assert str(audit(study([], kind="none"))) == "pruning: none"


def test_under_twenty_the_upper_end_of_the_exact_interval_is_told() -> None:
    found = audit(study([trial(n, n / 100, immune=True) for n in range(8)]))
    assert (found.rate_bounds.low, found.n_false_prunes) == (0.0, 0)
    assert found.rate_bounds.high == pytest.approx(0.369, abs=5e-4)
    assert "up to 37% of trials might be pruned wrongly (exact 95% interval)" in str(found)


def test_with_enough_immune_trials_rate_and_interval_are_told() -> None:
    trials = [trial(n, n / 100, immune=True) for n in range(19)]
    found = audit(study([*trials, trial(19, 0.9, immune=True, would_prune_at=4)]))
    assert "pruned wrongly: 5.0% of trials (0.1% to 24.9%, exact 95% interval)" in str(found)
    assert found.as_json()["false_prune_rate"] == 0.05


def test_time_saved_is_the_pace_of_the_pruned_and_time_paid_is_measured() -> None:
    trials = [
        trial(0, 0.1, state="pruned", epochs=4, seconds=600.0),  # 6 epochs of 10 min saved
        trial(1, 0.2, state="pruned", epochs=9, seconds=1800.0),  # 1 of 30 min
        trial(2, 0.3, immune=True, would_prune_at=7, seconds=1200.0),  # 3 of 20 min paid
    ]
    found = audit(study(trials))
    assert found.trial_hours_saved == pytest.approx(1.5)
    assert found.trial_hours_paid == pytest.approx(1.0)
    assert "about 1.5 trial-hours at the pruned trials' own pace" in str(found)


def test_a_trial_over_a_limit_was_not_pruned() -> None:
    found = audit(study([trial(0, 0.5), trial(1, 0.1, state="pruned", epochs=1, kind="limit")]))
    assert (found.n_pruned, found.epochs_saved, found.epochs_all) == (0, 0, 10)


def test_a_pruned_trial_without_an_epoch_saves_epochs_but_no_known_time() -> None:
    found = audit(study([trial(0, 0.5, state="pruned", epochs=0)]))
    assert (found.epochs_saved, found.trial_hours_saved) == (10, 0.0)


def test_early_scores_are_correlated_with_final_ones_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    final, early = rng.normal(size=(2, 15))
    early += final
    trials = [trial(n, final[n], early=early[n]) for n in range(15)]
    found = audit(study([*trials, trial(15, 0.4, state="pruned", epochs=4)]))
    assert [c.epoch for c in found.correlations] == [3, 4, 5], "a quarter, the decision, half"
    for correlation in found.correlations:
        assert correlation.value == pytest.approx(stats.spearmanr(early, final)[0])
        assert correlation.n == 15, "what was pruned has no final score"
        assert correlation.interval is not None
        assert correlation.interval.low < correlation.value < correlation.interval.high
    assert "over 15 complete trials (survivors among them: it reads low)" in str(found)


def test_twenty_immune_trials_are_correlated_alone() -> None:
    immune = [trial(n, n / 100, early=n / 100, immune=True) for n in range(20)]
    others = [trial(n, n / 100, early=-n / 100) for n in range(20, 60)]
    found = audit(study([*immune, *others]))
    assert found.correlated_over == "immune"
    assert [c.value for c in found.correlations] == pytest.approx([1, 1, 1])
    assert "over 20 immune trials: " in str(found)


def test_a_score_that_is_missing_or_not_finite_is_left_out_of_the_correlation() -> None:
    trials = [trial(n, n / 100, early=n / 100) for n in range(5)]
    trials += [trial(5, 0.9, early=float("nan"))]
    del trials[0].epochs[4]
    by_epoch = {c.epoch: c.n for c in audit(study(trials)).correlations}
    assert by_epoch == {3: 5, 4: 4, 5: 5}


def test_few_complete_trials_have_a_correlation_without_an_interval() -> None:
    found = audit(study([trial(n, n / 100, early=n / 100) for n in range(3)]))
    assert [(c.n, c.interval) for c in found.correlations] == [(3, None)] * 3
    assert audit(study([trial(0, 0.1), trial(1, 0.2)])).correlations == ()


def test_json_is_plain_and_complete() -> None:
    trials = [trial(n, n / 100, early=n / 100, immune=n % 2 == 0) for n in range(12)]
    shown = audit(study(trials)).as_json()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert (shown["n_immune"], shown["enough"], shown["false_prune_rate"]) == (6, False, 0.0)
    assert set(shown["correlations"][0]) == {"epoch", "n", "value", "low", "high"}
    assert audit(study([])).as_json()["false_prune_rate"] is None


def test_a_study_that_does_not_name_pruner_and_epochs_is_read() -> None:
    bare = replace(study([trial(0, 0.5, epochs=3)]), space={"objective": "val_ssim"})
    assert audit(bare).pruner == "none"


def test_the_audit_loads_no_heavy_library() -> None:
    script = (
        "import sys, dexsearch.search.audit\n"
        "heavy = {'torch', 'ray', 'optuna', 'mlflow', 'scipy', 'pydantic', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
