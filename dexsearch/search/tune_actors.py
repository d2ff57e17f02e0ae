"""The processes of trials as Ray Tune notes them: the one place that reads its private notes."""

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial


def processes(tune_controller: Any) -> dict[Trial, Any]:  # noqa: ANN401
    """Return the handle of the process of each trial that has one, or for which one starts.

    Tune itself tells of a process only once it answers: never of one that hangs while it starts.
    """
    controller = _controller(tune_controller)
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
        trial.init_local_path()  # without a folder of its own Tune cannot list it at the end
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


def actor_of(tune_controller: Any, trial: Trial) -> Any:  # noqa: ANN401
    """Return Tune's note of the process of a trial; None where it has none."""
    return _controller(tune_controller)._trial_to_actor.get(trial)


def drop_cached_actors(
    tune_controller: Any,  # noqa: ANN401
    is_kept: Callable[[Any], bool],
) -> None:
    """End the processes without a trial that are not kept, as Tune does with too many of them.

    Args:
        tune_controller: of the search.
        is_kept: tells of Tune's note of a process whether the next trial may have it.
    """
    controller = _controller(tune_controller)
    cache = controller._actor_cache
    for actors in cache._cached_objects.values():
        for actor in [actor for actor in actors if not is_kept(actor)]:
            actors.remove(actor)
            cache._num_cached_objects -= 1
            actor.set_on_stop(None)  # no trial is to hear of its end
            actor.set_on_error(None)
            controller._remove_actor(tracked_actor=actor)


def _controller(tune_controller: Any) -> Any:  # noqa: ANN401
    """Return Tune's own: a scheduler is handed a wrapper, which warns of what it does not know."""
    return getattr(tune_controller, "_tune_controller", tune_controller)
