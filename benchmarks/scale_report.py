"""What runs at scale took, printed: one run, two side by side, and the model of all."""

from dataclasses import dataclass
from typing import Any

from scale_model import TERMS, CostModel, Point, errors, fitted, shortest_epoch_s
from watched_trials import SlotTimes


@dataclass(frozen=True)
class Run:
    """What one driver took."""

    name: str
    slots: int
    load: dict[str, Any]
    told: dict[str, Any]
    cluster_s: dict[str, float]
    """Processor seconds of the cluster's processes meanwhile."""

    slot: SlotTimes
    ledger_bytes: int

    @property
    def driver_s(self) -> float:
        """Processor seconds of the driver, without the profile."""
        parts: dict[str, float] = self.told["parts_s"]
        return sum(s for part, s in parts.items() if part != "this profile")

    @property
    def point(self) -> Point:
        """What the model is fitted to."""
        return Point(self.told["trials"], self.told["reports"], self.slots, self.driver_s)


def print_run(run: Run) -> None:
    """Print everything about one run."""
    told, slot = run.told, run.slot
    trials, reports, wall = told["trials"], told["reports"], told["wall_s"]
    print(f"\n{run.name}: {trials} trials on {run.slots} slots, {run.load['epoch_s']} s an epoch; "
          f"{told['epochs']} epochs in {reports} reports")  # fmt: skip
    print(f"  wall {wall:.0f} s: {trials / wall:.2f} trials/s, {reports / wall:.1f} reports/s, "
          f"{told['epochs'] / wall:.1f} epochs/s")  # fmt: skip
    print(f"  driver {run.driver_s:.1f} s of a processor ({run.driver_s / wall:.0%} of one): "
          f"{1e3 * run.driver_s / trials:.1f} ms a trial, "
          f"{1e3 * run.driver_s / reports:.1f} ms a report")  # fmt: skip
    for part, seconds in told["parts_s"].items():
        print(f"    {seconds:8.2f} s  {seconds / run.driver_s:6.1%}  "
              f"{1e3 * seconds / trials:6.2f} ms a trial  {part}")  # fmt: skip
    print(f"  cluster: {', '.join(f'{kind} {s:.0f} s' for kind, s in run.cluster_s.items())}")
    print(
        f"  slots: {slot.actors} processes, {slot.busy:.1%} busy; "
        f"a report waits {told_ms(slot.report_s)}, a trial's turnover {told_ms(slot.turnover_s)}"
    )
    if run.ledger_bytes:
        print(f"  ledger {run.ledger_bytes / 2**20:.1f} MiB, "
              f"{run.ledger_bytes / trials / 1024:.1f} KiB a trial")  # fmt: skip
    if told["memory_mib"]:
        (first_n, first), *_, (last_n, last) = [*told["memory_mib"][:1], *told["memory_mib"]]
        grown = 1024 * (last - first) / max(1, last_n - first_n)
        print(f"  driver {first:.0f} MiB after {first_n} trials, {last:.0f} MiB after {last_n}: "
              f"{grown:.1f} KiB a trial", flush=True)  # fmt: skip


def told_ms(times: tuple[float, float]) -> str:
    """Return a median and the time that 95 % are under."""
    return f"{1e3 * times[0]:.0f} ms (95 %: {1e3 * times[1]:.0f})"


def print_ratios(ours: Run, peer: Run) -> None:
    """Compare by what is alike: a trial, a report, a slot's time."""
    print("\nours against the peer (above 1: ours is better)")
    for what, of_ours, of_peer in (
        ("driver, s of a processor per trial", ours.driver_s / ours.told["trials"],
         peer.driver_s / peer.told["trials"]),
        ("driver, s of a processor per report", ours.driver_s / ours.told["reports"],
         peer.driver_s / peer.told["reports"]),
        ("driver, s of a processor per epoch", ours.driver_s / ours.told["epochs"],
         peer.driver_s / peer.told["epochs"]),
        ("wall, s per epoch", ours.told["wall_s"] / ours.told["epochs"],
         peer.told["wall_s"] / peer.told["epochs"]),
        ("a report's wait, median", ours.slot.report_s[0], peer.slot.report_s[0]),
        ("a trial's turnover, median", ours.slot.turnover_s[0], peer.slot.turnover_s[0]),
    ):  # fmt: skip
        print(f"  {of_peer / max(of_ours, 1e-9):6.2f}  {what}: {of_ours:.4f} and {of_peer:.4f}")


def print_model(runs: list[Run]) -> None:
    """Fit the model, print it with its errors and what follows for 512 GPUs."""
    points = [run.point for run in runs]
    model, error = fitted(points), errors(points)
    print("\nmodel of the driver's processor time")
    for term, value in zip(TERMS, (model.s, model.a, model.d, model.b, model.c), strict=True):
        print(f"  {1e3 * value:9.4f} ms {term}")
    for run, off in zip(runs, error, strict=True):
        print(f"  {run.name:28s} {run.driver_s:7.1f} s, from the others {off:+.0%}")
    for kind, c in (("tpe", model.c), ("a sampler that reads no trials", 0.0)):
        for slots in (32, 128, 512):
            cost = CostModel(model.s, model.a, model.d, model.b, c)
            service = cost.per_report_s(slots, reports_per_trial=9, n_trials=2000)
            print(f"  {slots:4d} GPUs, {kind}: {1e3 * service:6.1f} ms a report; 95 % busy from "
                  f"{shortest_epoch_s(slots, service):.1f} s an epoch")  # fmt: skip
