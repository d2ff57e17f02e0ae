"""The size of a search and the time that it will take, for people and for programs."""

from dataclasses import asdict, dataclass
from typing import Any

from dexsearch.jobs.plan import SearchPlan
from dexsearch.wording import duration


@dataclass(frozen=True, slots=True)
class ProbedSpeed:
    """One configuration that was timed, alone on this machine."""

    label: str
    """`cheapest`, `median` or `dearest` of those drawn, by the arithmetic of a step."""
    multiply_adds: int
    """Of a training step, for one image."""
    seconds_per_epoch: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The size of a search and the time that it is expected to take on this machine."""

    plan: SearchPlan
    n_configurations: int | None
    """None where continuous keys make them endless."""
    n_continuous: int
    parameters: tuple[int, int]
    """Fewest and most of a generator, among the configurations drawn."""
    memory_bytes: tuple[int, int]
    """Least and most that training is estimated to hold."""
    device: str
    probes: tuple[ProbedSpeed, ...]
    seconds_per_epoch: float
    """Mean over the configurations drawn, each alone on this machine."""
    at_once: int
    """Trials that run at once on this machine."""
    epochs_unpruned: int
    """Epochs that the study still lacks if nothing more is pruned."""
    epochs_expected: float
    pruning_model: str

    @property
    def hours_at_best_unpruned(self) -> float:
        """Hours if every trial trained to its end and those that run at once slowed none down."""
        return self._hours(self.epochs_unpruned)

    @property
    def hours_at_best(self) -> float:
        """The same with the pruner's expected savings."""
        return self._hours(self.epochs_expected)

    @property
    def epochs_replicates(self) -> int:
        """Epochs of the replicates, which come after the search; a head more takes more."""
        space = self.plan.space
        return self.plan.replicates * max(1, space.n_register) * space.epochs

    def _hours(self, epochs: float) -> float:
        return epochs * self.seconds_per_epoch / self.at_once / 3600

    def as_json(self) -> dict[str, Any]:
        """Return the plan's keys, and the rest below `forecast`."""
        told = {
            name: getattr(self, name)
            for name in (
                "n_configurations", "n_continuous", "parameters", "memory_bytes", "device",
                "seconds_per_epoch", "at_once", "epochs_unpruned", "epochs_expected",
                "pruning_model", "hours_at_best_unpruned", "hours_at_best", "epochs_replicates",
            )
        }  # fmt: skip
        probes = [asdict(probe) for probe in self.probes]
        return {**self.plan.as_json(), "forecast": {**told, "probes": probes}}

    def __str__(self) -> str:
        """Return the text for people."""
        count = self.n_configurations
        many = f"infinite: {self.n_continuous} continuous" if count is None else f"{count:,}"
        fewest, most = self.parameters
        least, largest = (size / 2**20 for size in self.memory_bytes)
        if self.plan.space.limits.parameters is not None:
            many += ", those over limits.parameters included"
        speeds = ", ".join(f"{p.seconds_per_epoch:.3g} s ({p.label})" for p in self.probes)
        together = ", if they do not slow each other down" if self.at_once > 1 else ""
        share = self.epochs_expected / self.epochs_unpruned if self.epochs_unpruned else 1.0
        where = ", on this machine, not the cluster" if self.plan.site.address else ""
        return "\n".join(
            [
                str(self.plan),
                f"configurations: {many}",
                f"generator: {fewest:,} to {most:,} parameters",
                f"memory of a trial on {self.device}: {least:,.0f} to {largest:,.0f} MiB, "
                "estimated",
                f"an epoch, measured alone: {speeds}; {self.seconds_per_epoch:.3g} s on average",
                f"time: at best about {duration(3600 * self.hours_at_best)} with {self.at_once} "
                f"at once{together}{where} ({duration(3600 * self.hours_at_best_unpruned)} "
                "without pruning)",
                f"pruning: expected to save {1 - share:.0%} of the {self.epochs_unpruned:,} "
                f"epochs left, if {self.pruning_model}",
                *self._told_replicates(),
            ]
        )

    def _told_replicates(self) -> list[str]:
        if self.plan.replicates == 0:
            return []
        time = duration(3600 * self._hours(self.epochs_replicates))
        return [
            f"replicates after that: {self.epochs_replicates:,} epochs, at best about {time}; the "
            "best of a head that is not among the best adds to it"
        ]
