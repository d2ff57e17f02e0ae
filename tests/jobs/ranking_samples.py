"""A registry with everything that `best` may tell of a version; nothing on the disk."""

from pathlib import Path
from typing import Any

from dexsearch.registry.record import Registry, registry_from_events

DATASET = "d" * 64
Event = dict[str, Any]


def registered(version: int, score: float, **more: Any) -> Event:  # noqa: ANN401
    """One generator of task bone; `more` replaces or adds keys."""
    return {
        "event": "registered", "name": "dexsearch-bone", "version": version, "task": "bone",
        "study": "ribs", "trial": version, "dataset": DATASET, "metric": 1, "val_ssim": score,
        "val_ssim_bone": score, "val_ssim_tissue": None,
        "baselines": {
            "identity_affine": {"bone": 0.1}, "nearest_pose": {"bone": 0.2},
            "constant": {"bone": 0.05},
        },
        "params": {"generator.depth": 3 + version, "generator.norm": "instance"},
        "epochs": 27, "n_parameters": 1_544_038, "package": f"generators/{version}",
        "weights_sha256": f"{version % 10}" * 64, "sha256": f"{(version + 1) % 10}" * 64,
        "time": 100.0 + version, **more,
    }  # fmt: skip


def measured(version: int, score: float, **more: Any) -> Event:  # noqa: ANN401
    """One generator with all that newer registrations tell."""
    known = {
        "head": "bone",
        "scores": {
            "val_ssim": score, "val_ssim_bone": score, "val_ssim_tissue": None,
            "val_mae": 0.1 * version, "quality_bone_leakage": 0.3 - 0.2 * version,
            "quality_sdnr_rib_tissue_prediction": 0.5 * version,
            "quality_sdnr_rib_tissue_truth": 0.9, "quality_tumour_error_input_mm": 8.0,
        },
        "intervals": {
            "val_ssim": [score - 0.02, score + 0.015],
            "val_ssim_bone": [score - 0.02, score + 0.015],
        },
        "n_subjects": 12, "size_bytes": 6_180_000,
        "latency": {"ms": 12.34, "size_px": [64, 64], "device": "cpu", "threads": 1,
                    "machine": "Some CPU @ 2.70GHz"},
        "seed": 7, "git_commit": "3c593ea",
    }  # fmt: skip
    return registered(version, score, **{**known, **more})


def alias(version: int, name: str = "champion") -> Event:
    return {"event": "alias", "name": "dexsearch-bone", "alias": name, "version": version,
            "reason": "", "time": 200.0}  # fmt: skip


def holdout(
    a: int, b: int, verdict: str, *, look: str = "ab12", time: float = 300.0
) -> list[Event]:
    """What two events say of one look."""
    return [
        {"event": "look", "look": look, "a": f"dexsearch-bone/{a}", "b": f"dexsearch-bone/{b}",
         "target": None, "dataset": DATASET, "metric": 1, "purpose": "promote", "time": time},
        {"event": "evidence", "look": look, "verdict": verdict, "time": time + 1,
         "result": {"difference": 0.0123, "low": 0.0041, "high": 0.0201, "n_subjects": 24,
                    "by_target": {"bone": {"difference": 0.0123}}}},
    ]  # fmt: skip


def replicated(trial: int, *, begun: float = 50.0, mean: float = 0.84) -> Event:
    return {"event": "replicated", "study": "ribs", "begun": begun, "trial": trial,
            "objective": "val_ssim", "seeds": [1, 2, 3], "values": [0.83, 0.84, 0.85],
            "mean": mean, "low": mean - 0.01, "high": mean + 0.01, "time": 400.0}  # fmt: skip


def audit(*, begun: float = 50.0) -> Event:
    return {"event": "audit", "study": "ribs", "begun": begun, "dataset": DATASET, "metric": 1,
            "n_ended": 9, "audit": {"n_pruned": 7}, "text": "7 pruned", "time": 150.0}  # fmt: skip


def registry(*events: Event) -> Registry:
    return registry_from_events(events, Path("workspace"))
