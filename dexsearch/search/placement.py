"""Where Ray may place the process of a trial: on nodes that are fit for the search."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune
from ray.util.placement_group import PlacementGroup, placement_group

Selector = Callable[[], Mapping[str, str]]


class PlacedWhereFit(tune.PlacementGroupFactory):
    """Asks for a place on the nodes that are fit when it is asked for.

    Which ones these are is no part of the request, so requests are equal whenever they ask for
    as much, and Tune goes on to pass a process from trial to trial while nodes join and leave.
    """

    def __init__(self, bundles: Sequence[Mapping[str, float]], selector: Selector) -> None:
        """Prepare to ask.

        Args:
            bundles: resources of a trial, as in a request of Tune.
            selector: returns labels of nodes, each with what it has to be.
        """
        super().__init__([dict(bundle) for bundle in bundles])
        self._selector = selector

    def to_placement_group(self) -> PlacementGroup:
        """Ask Ray for a place."""
        selector = dict(self._selector())
        place: PlacementGroup = placement_group(
            self.bundles,
            strategy=self.strategy,
            bundle_label_selector=[selector for _ in self.bundles] if selector else None,
        )
        return place

    def __getstate__(self) -> dict[str, Any]:
        """Keep the driver out of Tune's files, from which nothing is ever asked for."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return {**state, "_selector": _anywhere}


def _anywhere() -> Mapping[str, str]:
    return {}
