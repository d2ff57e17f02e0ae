"""Does Ray work here? Asked without starting anything."""

from dexsearch.errors import EnvironmentFault
from dexsearch.search.cluster import prepare_environment


def importable_ray(address: str | None = None) -> str:
    """Import Ray and Ray Tune and return Ray's version.

    Args:
        address: of a cluster that this process will join; None: of none.

    Raises:
        EnvironmentFault: if it cannot be imported.
    """
    prepare_environment(address)
    try:
        import ray  # noqa: PLC0415  (environment first)
        import ray.tune  # noqa: PLC0415
    except (ImportError, OSError, RuntimeError) as error:
        raise EnvironmentFault(
            f"Ray cannot be imported: {error}",
            hint="pip install 'ray[tune]>=2.56' in this environment",
        ) from error
    return str(ray.__version__)
