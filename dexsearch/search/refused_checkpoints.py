"""When a search stops because its checkpoints are refused, and waiting does not help."""

from dexsearch.errors import EnvironmentFault
from dexsearch.search.live_trial import LiveTrial
from dexsearch.search.retries import MAX_REFUSED_ENDS
from dexsearch.search.trial import Failure


def refuse_to_train_for_ever(trial: LiveTrial, failure: Failure, *, is_waiting: bool) -> None:
    """Stop the search where the same last checkpoint is refused again and again.

    Storage that does not take one need not refuse what is smaller, so other trials may be saved
    meanwhile, and no wait is ever long.

    Args:
        trial: which could not save.
        failure: what it said.
        is_waiting: whether nothing was saved since a shortage. A wait for a disk has a limit of
            its own, and it is for people to decide how long they need to free some space.

    Raises:
        EnvironmentFault: if the trial was trained to its end too often.
    """
    if not failure.is_trained or (failure.kind == "disk" and is_waiting):
        return
    trial.setbacks.refused_ends += 1
    if trial.setbacks.refused_ends >= MAX_REFUSED_ENDS:
        raise EnvironmentFault(
            f"trial {trial.number} is trained to its end and cannot be saved: {failure.reason}",
            hint="see what the storage refuses: a quota, the size of a request, its keys; the "
            "same command then continues the search",
        )


def refuse_to_ask_for_ever(trial: LiveTrial, failure: Failure) -> None:
    """Stop the search where keys are not valid and one more try did not help.

    Raises:
        EnvironmentFault: the second time.
    """
    trial.setbacks.denials += 1
    if trial.setbacks.denials > 1:
        raise EnvironmentFault(
            f"trial {trial.number} is not let into the storage: {failure.reason}",
            hint="renew the keys in the environment of every node, such as AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN or GOOGLE_APPLICATION_CREDENTIALS, "
            "or the rights of the machine's role; the same command then continues the search",
        )
