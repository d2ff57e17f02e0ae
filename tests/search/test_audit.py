from pathlib import Path

from dexsearch.ledger.study import State, StudyRecord, TrialRecord
from dexsearch.search.audit import audit


def trial(
    number: int, value: float, *, state: State = "complete", epochs: int = 10,
    immune: bool = False, would_prune_at: int | None = None,
) -> TrialRecord:  # fmt: skip
    records = {epoch: {"val_ssim": value} for epoch in range(1, epochs + 1)}
    return TrialRecord(
        number=number, params={}, config={}, immune=immune, enqueued=False, epochs=records,
        state=state, would_prune_at=would_prune_at, reason=None, kind=None, checkpoint=None,
        started=0.0, ended=1.0,
    )  # fmt: skip


def study(trials: list[TrialRecord], kind: str = "median") -> StudyRecord:
    space = {"epochs": 10, "pruner": {"kind": kind}}
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
    assert "too few" not in str(found)


def test_an_empty_study_and_one_without_pruner_have_an_audit_too() -> None:
    assert "0 pruned, 0 of 0 epochs saved (0%)" in str(audit(study([])))
    assert str(audit(study([], kind="none"))) == "pruning: none"
