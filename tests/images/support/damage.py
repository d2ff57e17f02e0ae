"""Files with a few wrong bytes."""

from pathlib import Path

import numpy as np

from dexsearch.errors import DataError
from dexsearch.images.reading import read_image


def refusals_of_damaged(path: Path, *, n_times: int) -> list[str]:
    """Read a file again and again, each time with two other bytes changed; return what is told.

    What is read in spite of it is of a reasonable size.
    """
    rng = np.random.default_rng(0)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    messages = []
    for _ in range(n_times):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 2)] = rng.integers(0, 256, 2)
        path.write_bytes(damaged.tobytes())
        try:
            assert read_image(path).size < 2**26
        except DataError as error:
            messages.append(str(error))
    return messages
