"""The command `dexsearch tune` on a study of its own, with tiny real data."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusters import wait_until
from laws import assert_kept

from dexsearch.ledger.log import Event, read_events
from dexsearch.ledger.study import LEDGER_NAME

NAME = "lab"
SPACE: dict[str, Any] = {
    "task": "joint",
    "trials": 6,
    "epochs": 60,
    "register": 0,
    "pruner": {"kind": "none", "min_epochs": 3},
    "sampler": {"kind": "qmc", "seed": 0},
    "resources": {"cpus": 1, "gpus": 0},
    "search": {
        "generator.depth": {"int": [1, 2]},
        "optimizer.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    },
    "fixed": {"generator.width": 8, "loss.adversarial": "lsgan", "discriminator.patch_px": 16,
              "discriminator.width": 8, "batch_size": 4},
}  # fmt: skip
HALVING = {"kind": "successive_halving", "min_epochs": 6, "reduction": 2, "immune_every": 4}


@dataclass
class Search:
    """A workspace with one study, and the command that runs it."""

    folder: Path
    dataset: Path
    address: str | None
    before: Sequence[str] = ()
    """What goes before the command, as `Hosts.inside`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    drivers: list["Driver"] = field(default_factory=list)
    """Every run of the command, in order."""
    _read: list[Event] = field(default_factory=list)

    @classmethod
    def made(
        cls, folder: Path, dataset: Path, address: str | None, *, before: Sequence[str] = (),
        environment: Mapping[str, str], **changes: object,
    ) -> "Search":  # fmt: skip
        """Write the space; `changes` are its keys."""
        folder.mkdir(parents=True, exist_ok=True)
        space = {**copy.deepcopy(SPACE), "data": {"path": str(dataset)}, **changes}
        (folder / f"{NAME}.yaml").write_text(json.dumps(space))
        return cls(folder, dataset, address, before, environment)

    @property
    def workspace(self) -> Path:
        """Its workspace."""
        return self.folder / "workspace"

    @property
    def study(self) -> Path:
        """The study's folder."""
        return self.workspace / "studies" / NAME

    @property
    def ledger(self) -> Path:
        """The study's ledger."""
        return self.study / LEDGER_NAME

    @property
    def events(self) -> list[Event]:
        """What its ledger has, which must begin with all that was ever read of it."""
        events = read_events(self.ledger)
        assert_kept(self._read, events)
        self._read = events
        return events

    def look_back(self) -> None:
        """Check that nothing is gone of what the ledger ever had."""
        _ = self.events

    @property
    def n_epochs(self) -> int:
        """How many epochs its ledger has."""
        return sum(event["event"] == "epoch" for event in self.events)

    def command(self, *flags: str) -> list[str]:
        """Return the command; `flags` are added to those of the study."""
        where = ["--address", self.address] if self.address else []
        return [
            *self.before, sys.executable, "-m", "dexsearch", "tune", "--space", f"{NAME}.yaml",
            *where, *self.flags, *flags,
        ]  # fmt: skip

    def start(self, *flags: str, **environment: str) -> "Driver":
        """Start the command and return at once; what the ledger has by then has to stay."""
        self.look_back()
        errors = self.folder / f"stderr-{len(self.drivers)}.txt"
        results = errors.with_name(f"stdout-{len(self.drivers)}.txt")
        with errors.open("wb") as err, results.open("wb") as out:
            process = subprocess.Popen(
                self.command(*flags), cwd=self.folder, stdout=out, stderr=err,
                stdin=subprocess.DEVNULL, env={**self.environment, **environment},
                start_new_session=True,
            )  # fmt: skip
        self.drivers.append(Driver(process, errors, results, time.time()))
        return self.drivers[-1]

    def run(self, *flags: str, timeout_s: float = 240, **environment: str) -> "Driver":
        """Run the command to its end."""
        driver = self.start(*flags, **environment)
        driver.wait(timeout_s)
        return driver

    def end_all(self) -> None:
        """Kill what still runs."""
        for driver in self.drivers:
            if driver.process.poll() is None:
                driver.kill()

    def other(self, command: str, *flags: str) -> "subprocess.CompletedProcess[str]":
        """Run another command of dexsearch in the same folder and place."""
        return subprocess.run(
            [*self.before, sys.executable, "-m", "dexsearch", command, *flags], cwd=self.folder,
            env=dict(self.environment), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def wait_for_epochs(self, n: int, driver: "Driver", timeout_s: float = 120) -> float:
        """Return once the ledger has so many epochs."""
        return self.wait_for(lambda: self.n_epochs >= n, driver, timeout_s)

    def wait_for(self, is_so: Any, driver: "Driver", timeout_s: float = 120) -> float:  # noqa: ANN401
        """Return when a condition holds; fail if the driver ends before that."""
        return wait_until(
            is_so, timeout_s, alive=driver.process, why=lambda: driver.stderr[-3000:]
        )


@dataclass
class Driver:
    """A running `dexsearch tune`."""

    process: "subprocess.Popen[bytes]"
    errors: Path
    results: Path
    begun: float

    @property
    def stderr(self) -> str:
        """What it said so far."""
        return self.errors.read_text(errors="replace")

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self.results.read_text(errors="replace")

    @property
    def told_error(self) -> str:
        """What it said from its error on."""
        found = re.search(r"^error:.*", self.stderr, re.MULTILINE | re.DOTALL)
        return "; ".join(found[0].split("\n")).strip("; ") if found else "no error told"

    @property
    def code(self) -> int:
        """Its exit code."""
        assert self.process.returncode is not None, "it still runs"
        return self.process.returncode

    def wait(self, timeout_s: float = 240) -> int:
        """Wait for its end; kill it if there is none."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"still running after {timeout_s:g} s: {self.stderr[-2000:]}"
            ) from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the driver alone."""
        self.process.send_signal(number)

    def has_said(self, text: str) -> bool:
        """Tell whether it has said something so far."""
        return text in self.stderr

    def kill_alone(self) -> None:
        """Kill it, and nothing that it started."""
        self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """Kill it and whatever it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ended_well(self, timeout_s: float = 240) -> None:
        """Wait for its end, which must be a good one."""
        code = self.wait(timeout_s)
        assert code == 0, f"exit code {code}: {self.stderr[-2000:]}"
        assert "Traceback" not in self.stderr, self.stderr[-2000:]


NewSearch = Callable[..., Search]
"""Makes a search on a cluster: `make(cluster, host=1, **keys_of_the_space)`."""
