"""The faults of the lab: what is done, what is asked, what Ray, Tune and Optuna do by themselves.

The name of a fault is that of its test: `trial_killed` is `test_trial_killed`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One row of the table, without what is measured."""

    name: str
    title: str
    injected: str
    stack: str = "not measured"
    """What the stack does by itself."""
    required_s: float | None = None
    """Longest time until training again that is asked for."""


FAULTS = (
    Fault(
        "trial_killed",
        "trial killed",
        "SIGKILL to the process of a running trial",
        "restarted after 1.3 s, 0 epochs lost",
        3.0,
    ),
    Fault(
        "node_killed",
        "node killed",
        "SIGKILL to every process of a worker node, raylet included",
        "dead after 13 s, trials running again after 16 s",
        16.0,
    ),
    Fault(
        "partition",
        "partition and heal",
        "a worker node's link down until its trial goes on elsewhere, then up again",
        "dead after 8 s, restarted after 10 s (64 s without health settings)",
        10.0,
    ),
    Fault(
        "driver_killed",
        "driver killed 20 times",
        "SIGKILL to `tune` at 20 random moments, then the same command: 4 of its start, 12 over "
        "all of its epochs, 4 while it registers and brings MLflow up",
        "up to 3 of 7 epochs redone, duplicate rows; the restore can fail for good",
    ),
    Fault(
        "head_killed",
        "head killed",
        "SIGKILL to every process of the head; a new cluster; the same command",
        "the driver hard-exits after 60 s: no `except`, no `finally`",
    ),
    Fault("hung_trial", "hung trial", "SIGSTOP to the process of a trial", "never noticed"),
    Fault(
        "nan",
        "NaN",
        "a first trial with learning rate 1 and no normalisation: its losses overflow",
        "never pruned by ASHA: full budget spent",
    ),
    Fault(
        "out_of_memory",
        "out of memory",
        "trials' address space limited (prlimit) below what one configuration needs",
    ),
    Fault(
        "disk_full",
        "disk full and freed",
        "storage on a disk of its own (ext4, 1 GiB), filled up in mid-search, then freed",
        "Tune's state file truncated; the next restore silently starts a new search",
    ),
    Fault(
        "storage_not_shared",
        "storage not shared",
        "one node has an empty tmpfs mounted over the storage (mount namespace)",
        "trials fail after their first epoch; exit status 0",
    ),
    Fault(
        "checkpoint_corrupted",
        "newest checkpoint corrupted",
        "a byte flipped in the newest checkpoint of every unfinished trial",
        "all retries burnt on it; never falls back to the older one",
    ),
    Fault(
        "checkpoint_truncated",
        "newest checkpoint truncated",
        "largest file of the newest checkpoint of every unfinished trial cut in half",
        "all retries burnt on it; never falls back to the older one",
    ),
    Fault(
        "databases_deleted",
        "Tune's folder, study.db, mlflow.db deleted",
        "Tune's folder deleted while it runs; all three after SIGKILL; the same command",
        "the search is lost",
    ),
    Fault("mlflow_down_at_start", "MLflow down at the start", "server started in mid-search"),
    Fault(
        "mlflow_down_in_the_middle", "MLflow down in the middle", "server killed, then restarted"
    ),
    Fault(
        "mlflow_down_at_the_end", "MLflow down at the end", "server killed before the end; `sync`"
    ),
    Fault(
        "postgresql_restarted",
        "PostgreSQL restarted",
        "`pg_ctl -m immediate` restart of MLflow's database in mid-search",
    ),
    Fault(
        "duplicate_start",
        "the same study started twice",
        "a second `tune` beside the first, on another host",
        "merged silently; exit status 0",
    ),
    Fault("ctrl_c_once", "Ctrl-C once", "SIGINT to the driver", "exit status 0"),
    Fault("ctrl_c_twice", "Ctrl-C twice", "SIGINT to the driver, another half a second later"),
    Fault("sigterm", "SIGTERM", "SIGTERM to the driver", "not handled"),
    Fault("clock_off", "clock off by an hour", "faketime for the driver: +1 h, killed, then -1 h"),
    Fault(
        "versions_differ",
        "versions differ between nodes",
        "one node has a copy of dexsearch with another version on its PYTHONPATH",
    ),
    Fault(
        "wrong_token",
        "wrong token",
        "cluster in token mode; the driver has another token",
        "a bare ConnectionError after 20 s",
    ),
    Fault(
        "no_token", "no token", "cluster in token mode; the driver has no token", "a bare error"
    ),
    Fault(
        "dead_address",
        "address of nobody",
        "`--address` of a host that is off the network",
        "blocks for more than 9 minutes",
    ),
    Fault(
        "nodes_join_and_leave",
        "nodes join and leave",
        "a fifth node joins in mid-search, then another one is killed",
    ),
    Fault(
        "node_joins_without_the_storage",
        "node joins without the storage",
        "a node joins in mid-search that has an empty tmpfs mounted over the storage",
        "trials fail after their first epoch; exit status 0",
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
