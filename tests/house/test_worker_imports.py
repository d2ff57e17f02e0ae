"""What trains reads a dataset; it does not load what simulates one, nor what searches."""

import subprocess
import sys

LIBRARIES = {"scipy", "skimage", "matplotlib", "pydicom", "mlflow", "optuna"}
SIMULATORS = {
    "dexsearch.data.generate",
    "dexsearch.data.store",
    "dexsearch.physics.detector",
    "dexsearch.physics.projection",
    "dexsearch.physics.quadrature",
    "dexsearch.volumes",
}


def test_a_trial_loads_no_simulator_and_no_library_that_it_does_not_use() -> None:
    """Every restarted trial begins a process, which pays for all of this once more."""
    script = "import sys, dexsearch.search.training_trials; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert not (LIBRARIES | SIMULATORS) & set(loaded)
