"""The processes of trials as Ray Tune notes them: the one place that reads its private notes."""

from typing import Any

from ray.tune.experiment import Trial


def processes(tune_controller: Any) -> dict[Trial, Any]:  # noqa: ANN401
    """Return the handle of the process of each trial that has one, or for which one starts.

    Tune itself tells of a process only once it answers: never of one that hangs while it starts.
    """
    # A scheduler is handed a wrapper, which warns of whatever it does not know.
    controller = getattr(tune_controller, "_tune_controller", tune_controller)
    started = controller._actor_manager._live_actors_to_ray_actors_resources
    actors = {
        trial: controller._trial_to_actor.get(trial) for trial in controller.get_live_trials()
    }
    return {trial: started[actor][0] for trial, actor in actors.items() if actor in started}


def end_waiting_trials(tune_controller: Any) -> list[Trial]:  # noqa: ANN401
    """End the trials that wait for room, which would begin whenever there is some; return them."""
    begun = processes(tune_controller)
    live = tune_controller.get_live_trials()
    waiting = [trial for trial in live if trial.status == Trial.PENDING and trial not in begun]
    for trial in waiting:
        tune_controller.stop_trial(trial)
    return waiting


def forget_actor(tune_controller: Any, trial: Trial) -> None:  # noqa: ANN401
    """Have Tune end the actor of a trial that is over, instead of giving it to the next trial.

    Whatever a device was left in (an error of CUDA stays until its process ends) ends with it.
    Not done by `reset_config`: where that returns False, Tune takes the next trial for failed,
    without starting it again or telling anybody. Tune passes on only actors that it has noted as
    started.
    """
    tune_controller._started_actors.discard(tune_controller._trial_to_actor.get(trial))
