"""The search: Optuna proposes and prunes, Ray runs the trials, the ledger remembers.

study.py         run_study: begin or continue a search; what the command `tune` calls
driver.py        hands out trials, writes the ledger, then the Optuna study, decides
optuna_study.py  the Optuna study in study.db, rebuilt from the ledger where it differs
bridge.py        the driver as a Ray Tune searcher and scheduler; trials as Tune actors
in_process.py    the same without Ray, in one process
"""
