"""How a dataset's inputs were exposed, as its manifest says it."""

from collections.abc import Mapping
from typing import Any

from dexsearch.data.manifest import Manifest
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector


def exposure_of(manifest: Manifest) -> tuple[Exposure, Detector] | None:
    """Return how a dataset's inputs were exposed, and on what.

    None where they cannot be exposed anew: imported pairs, inputs that are no simulated exposure,
    datasets without path lengths.
    """
    exposure, detector = (manifest.source.get(name) for name in ("exposure", "detector"))
    if manifest.path_lengths is None or exposure is None or detector is None:
        return None
    return Exposure(**_with_tuples(exposure)), Detector(**_with_tuples(detector))


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Undo what JSON made of tuples."""
    return {name: _as_tuple(value) for name, value in values.items()}


def _as_tuple(value: Any) -> Any:  # noqa: ANN401
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
