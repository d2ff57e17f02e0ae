"""A trial as a Ray actor; a worker imports no more of the search than this module."""

import os
from typing import Any

import ray
from ray import tune

from dexsearch.search.trial import TrialStepper

FUNCTION = "function"
ASSIGNMENT = "assignment"
REPORT = "report"
NODE = "node"


class TrialActor(tune.Trainable):
    """Runs assignments in a worker, one after the other; a step is a report.

    A class, because a function trainable runs in a thread that has to be unwound when a trial is
    stopped, which can hang its successor.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first assignment."""
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._stepper = TrialStepper(config[FUNCTION])
        self._stepper.begin(config[ASSIGNMENT])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment; data and imports stay."""
        self._stepper.begin(new_config[ASSIGNMENT])
        return True

    def step(self) -> dict[str, Any]:
        """Train until a report is due."""
        report = self._stepper.step()
        node = ray.get_runtime_context().get_node_id()
        return {REPORT: report, NODE: node, "done": report.last}

    def cleanup(self) -> None:
        """Stop training."""
        self._stepper.close()
