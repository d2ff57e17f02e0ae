"""The search: Optuna proposes and prunes, Ray runs the trials, the ledger remembers.

study.py         run_study: begin or continue a search; what the command `tune` calls
site.py            where it runs: cluster, storage
lease.py           one process holds a study, whoever else shares its folder; lease_file.py
signals.py         Ctrl-C, SIGTERM, SIGUSR1
driver.py          hands out trials, decides who goes on
journal.py         writes what happens to the ledger, then tells the Optuna study and the display
optuna_study.py    the Optuna study in memory: proposes, hears of epochs, gives verdicts
study_rebuild.py   that study replayed from the ledger
study_database.py  study.db, which follows it for optuna-dashboard
training_backend.py  real training on Ray
bridge.py          the driver as a Ray Tune searcher and scheduler; trials as Tune actors
in_process.py      the same without Ray, in one process
"""
